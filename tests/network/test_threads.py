"""The network at the board: the same answers on one thread and on several, and the number that answers sooner."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from alphazero.mcts.evaluator import Evaluation
from alphazero.network import threads
from alphazero.network.inference import OnnxEvaluator
from alphazero.network.threads import EVERY, FIRST, ThreadsEvaluator, on_all_cores
from alphazero.runs.agents import load_agent
from tests.evaluators import ScrambledEvaluator
from tests.positions import CONNECT_FOUR, random_positions

STATES = CONNECT_FOUR.initial(1)
SETTLED = 8 * EVERY  # answers after which the choice has been made anew by trials of these times alone


@pytest.fixture(scope="module")
def alone() -> OnnxEvaluator:
    path = Path(__file__).resolve().parents[2] / "games" / "data" / "connect_four" / "agent.onnx"
    evaluator = load_agent(path).evaluator
    assert isinstance(evaluator, OnnxEvaluator)
    return evaluator


class Timed:
    """An evaluator whose answers take so long, and the first one after another evaluator's ten times as long."""

    now = 0.0
    last: Timed | None = None

    def __init__(self, seconds: float) -> None:
        self.seconds, self.answers = seconds, 0

    def predictions(self, observation: Tensor) -> Evaluation:
        Timed.now += self.seconds * (1 if Timed.last is self else 10)
        Timed.last = self
        self.answers += 1
        return Evaluation(torch.zeros(len(observation), 7), torch.zeros(len(observation)))


@pytest.fixture
def evaluator(alone: OnnxEvaluator, monkeypatch: pytest.MonkeyPatch) -> ThreadsEvaluator:
    """One whose answers on one thread take 1 s, and on several as long as the test says."""
    monkeypatch.setattr(threads.time, "perf_counter", lambda: Timed.now)
    evaluator = ThreadsEvaluator(alone, 2)
    monkeypatch.setattr(evaluator, "choices", (Timed(1.0), Timed(1.0)))
    return evaluator


def shares(evaluator: ThreadsEvaluator, *, answers: int) -> list[float]:
    """The shares of one thread and of several in the next answers."""
    before = [choice.answers for choice in evaluator.choices]
    for _ in range(answers):
        evaluator(STATES, torch.Generator())
    return [(choice.answers - was) / answers for choice, was in zip(evaluator.choices, before, strict=True)]


def test_several_threads_take_over_where_they_are_faster(evaluator: ThreadsEvaluator) -> None:
    evaluator.choices[1].seconds = 0.6
    shares(evaluator, answers=len(FIRST))
    assert shares(evaluator, answers=EVERY) == [2 / EVERY, 1 - 2 / EVERY]


@pytest.mark.parametrize("seconds", [2.6, 1.0, 0.95])
def test_one_thread_stays_where_several_gain_little(seconds: float, evaluator: ThreadsEvaluator) -> None:
    evaluator.choices[1].seconds = seconds
    shares(evaluator, answers=len(FIRST))
    assert shares(evaluator, answers=EVERY) == [1 - 2 / EVERY, 2 / EVERY]


def test_the_choice_follows_the_machine(evaluator: ThreadsEvaluator) -> None:
    """Idle, busy and idle again."""
    for seconds, several in ((0.6, True), (2.6, False), (0.5, True)):
        evaluator.choices[1].seconds = seconds
        shares(evaluator, answers=SETTLED)
        assert shares(evaluator, answers=EVERY)[1] == (1 - 2 / EVERY if several else 2 / EVERY)


def test_one_slow_answer_changes_nothing(evaluator: ThreadsEvaluator) -> None:
    """Medians count, of which one disturbed time in five is none."""
    evaluator.choices[1].seconds = 0.6
    shares(evaluator, answers=SETTLED + len(FIRST) - 1)
    evaluator.choices[0].seconds = 0.01
    shares(evaluator, answers=1)
    evaluator.choices[0].seconds = 1.0
    assert shares(evaluator, answers=EVERY)[1] == 1 - 2 / EVERY


def test_answers_are_the_same_on_any_number_of_threads_and_in_any_batch(alone: OnnxEvaluator) -> None:
    evaluator = ThreadsEvaluator(alone, 2)
    states = random_positions(CONNECT_FOUR, len(FIRST), plies=9, seed=1)
    expected = alone(states, torch.Generator())
    for row in range(len(FIRST)):  # on one thread at first, and then on two
        one = type(states)(*(field[row : row + 1] for field in states))
        found = evaluator(one, torch.Generator())
        assert torch.equal(found.logits[0], expected.logits[row])
        assert torch.equal(found.value[0], expected.value[row])


def test_it_has_as_many_threads_as_there_are_cores_up_to_four(alone: OnnxEvaluator) -> None:
    for cores, many in ((2, 2), (3, 3), (64, 4)):
        found = on_all_cores(alone, cores)
        assert isinstance(found, ThreadsEvaluator)
        assert [choice.threads for choice in found.choices] == [1, many]
        assert found.choices[1].session.get_session_options().intra_op_num_threads == many


def test_other_evaluators_and_one_core_change_nothing(alone: OnnxEvaluator) -> None:
    scrambled = ScrambledEvaluator(CONNECT_FOUR)
    assert on_all_cores(scrambled, 8) is scrambled
    assert on_all_cores(alone, 1) is alone
