"""The network runs on as many threads as answer the soonest."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from alphazero.game import State
from alphazero.mcts.evaluator import Evaluation, Evaluator
from alphazero.network import engines
from alphazero.network.engines import answer_seconds, quickest
from alphazero.network.inference import OnnxEvaluator
from alphazero.runs.agents import Agent, load_agent
from tests.evaluators import ScrambledEvaluator
from tests.positions import CONNECT_FOUR, random_positions

STATES = CONNECT_FOUR.initial(1)


@pytest.fixture(scope="module")
def agent() -> Agent:
    return load_agent(Path(__file__).resolve().parents[2] / "games" / "data" / "connect_four" / "agent.onnx")


@pytest.mark.parametrize(
    ("seconds", "cores", "threads"),
    [
        ({1: 1.0, 2: 0.6, 4: 0.4, 8: 0.3}, 8, 8),
        ({1: 1.0, 2: 0.6, 4: 0.4, 8: 0.3}, 7, 4),
        ({1: 1.0, 2: 0.6, 4: 0.59, 8: 0.3}, 8, 2),
        ({1: 1.0, 2: 2.6, 4: 0.1}, 4, 1),
        ({1: 1.0, 2: 0.95}, 2, 1),
        ({1: 1.0}, 1, 1),
    ],
    ids=["all", "not more than cores", "as long as it gains", "a busy machine", "too little gained", "one core"],
)
def test_threads_are_doubled_as_long_as_that_gains(
    seconds: dict[int, float], cores: int, threads: int, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "answer_seconds", lambda evaluator, *rest: seconds[evaluator.threads])
    found = quickest(agent.evaluator, STATES, torch.Generator(), cores=cores)
    assert isinstance(found, OnnxEvaluator)
    assert found.threads == threads


def test_answers_are_the_same_on_any_number_of_threads_and_in_any_batch(agent: Agent) -> None:
    alone = agent.evaluator
    assert isinstance(alone, OnnxEvaluator)
    together = OnnxEvaluator(agent.game, alone.serialized, module=alone.module, threads=2)
    states = random_positions(CONNECT_FOUR, 7, plies=9, seed=1)
    expected = alone(states, torch.Generator())
    for row in range(7):
        one = type(states)(*(field[row : row + 1] for field in states))
        for evaluator in (alone, together):
            found = evaluator(one, torch.Generator())
            assert torch.equal(found.logits[0], expected.logits[row])
            assert torch.equal(found.value[0], expected.value[row])


def test_other_evaluators_stay_as_they_are() -> None:
    scrambled = ScrambledEvaluator(CONNECT_FOUR)
    assert quickest(scrambled, STATES, torch.Generator(), cores=8) is scrambled


def test_the_seconds_of_an_answer_are_the_median_of_those_that_are_warm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five slow answers at first do not count, and one in four that is disturbed does not either."""
    clock, answers = [0.0], [0]

    def evaluator(states: State, generator: torch.Generator) -> Evaluation:
        answers[0] += 1
        clock[0] += 9.0 if answers[0] <= 5 or answers[0] % 4 == 0 else 2.0
        return ScrambledEvaluator(CONNECT_FOUR)(states)

    monkeypatch.setattr(engines.time, "perf_counter", lambda: clock[0])
    known: Evaluator = evaluator
    assert answer_seconds(known, STATES, torch.Generator()) == 2.0
