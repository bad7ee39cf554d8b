"""The explorer's figures about a position, against the search itself and plain loops."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from alphazero.config import SearchConfig
from alphazero.game import concatenate
from alphazero.game.record import Record
from alphazero.mcts.search import search
from alphazero.replay import Samples, no_actions
from alphazero.runs.agents import Agent
from alphazero.shell.explore import COLUMNS
from alphazero.shell.explorer import Explorer
from games.tic_tac_toe import TicTacToe, TicTacToeState
from tests.evaluators import ScrambledEvaluator

GAME = TicTacToe()
QUIET = SearchConfig(simulations=40).without_noise()
PUCT = replace(QUIET, algorithm="puct")


def agent(config: SearchConfig = QUIET) -> Agent:
    return Agent(GAME, ScrambledEvaluator(GAME), config, "scrambled")


@pytest.mark.parametrize("config", [QUIET, PUCT])
def test_it_shows_the_search_result(config: SearchConfig) -> None:
    record = Record(GAME, "b2 a3")
    found = search(ScrambledEvaluator(GAME), GAME, record.state, config, torch.Generator())
    shown = Explorer(agent(config)).examine(record, 40)
    assert sorted(shown.actions) == record.legal()
    assert shown.line[0] == int(found.action[0])
    assert (shown.search.value, shown.search.raw_value) == (found.value, found.raw_value)
    assert int(shown.search.visits[0, shown.actions].sum()) == shown.simulations == 40
    text = {column.title: column.text for column in COLUMNS}
    for action in shown.actions:
        visits = int(found.visits[0, action])
        assert shown.search.policy[0, action] == found.policy[0, action]
        assert shown.search.prior[0, action] == found.prior[0, action]
        assert shown.search.q[0, action] == found.q[0, action]
        assert text["policy"](shown, action) == f"{100 * found.policy[0, action]:.1f} %"
        assert text["visits"](shown, action) == f"{visits}"
        assert text["share"](shown, action) == f"{100 * visits / 40:.1f} %"
        assert text["prior"](shown, action) == f"{100 * found.prior[0, action]:.1f} %"
        assert text["Q"](shown, action) == (f"{found.q[0, action]:+.3f}" if visits else "")
    policy = found.policy[0, shown.actions].tolist()
    assert policy == sorted(policy, reverse=True)


def test_the_gumbel_score_is_the_logarithm_of_the_improved_policy() -> None:
    """Equation 11 of Danihelka et al. 2022: pi' = softmax(logits + sigma(completed Q))."""
    shown = Explorer(agent()).examine(Record(GAME, "b2"), 40)
    total = sum(math.exp(shown.score[action]) for action in shown.actions)
    for action in shown.actions:
        assert math.exp(shown.score[action]) / total == pytest.approx(float(shown.search.policy[0, action]), abs=1e-5)


def test_the_puct_score_is_that_of_the_paper() -> None:
    """Q + C(s) P sqrt(N) / (1 + n); unvisited actions have the node's value, N counts its own evaluation."""
    shown = Explorer(agent(PUCT)).examine(Record(GAME, "b2"), 40)
    constant = math.log((1 + 41 + PUCT.c_base) / PUCT.c_base) + PUCT.c_init
    found = shown.search
    for action in shown.actions:
        visits, prior = int(found.visits[0, action]), float(found.prior[0, action])
        q = float(found.q[0, action] if visits else found.value[0])
        score = q + constant * prior * math.sqrt(41) / (1 + visits)
        assert float(shown.score[action]) == pytest.approx(score, abs=1e-5)


def test_the_networks_q_is_its_value_one_move_on_with_the_sign_turned() -> None:
    record = Record(GAME, "a3 b3 a2 b2")  # x completes the first column with a1
    shown = Explorer(agent()).examine(record, 8)
    for action in shown.actions:
        after = Record(GAME, record.moves)
        after.play(action)
        value = 1.0 if after.finished else -float(ScrambledEvaluator(GAME)(after.state).value[0])
        assert float(shown.network_q[action]) == pytest.approx(value)
    assert shown.network_q[GAME.parse_action("a1")] == 1.0


def samples_of(moves: list[str]) -> Samples:
    generator = torch.Generator().manual_seed(1)
    count = len(moves)
    number = torch.arange(count)
    return Samples(
        state=concatenate([Record(GAME, each).state for each in moves]),
        end=concatenate([Record(GAME, each).state for each in moves]),
        policy=torch.rand(count, 9, generator=generator),
        value=number / 10,
        outcome=number / 20,
        drawn=torch.zeros(count),
        root_value=torch.zeros(count),
        plies_left=torch.ones(count, dtype=torch.int32),
        iteration=number.int(),
        weight=torch.ones(count),
        sampled=no_actions(count),
        played_out=torch.ones(count),
    )


def test_the_replay_buffer_is_asked_for_the_position_and_its_mirror_images() -> None:
    samples = samples_of(["a3 b2", "c3 b2", "a3 b2", "b2 a3", "a1 b2", "a3 c2"])
    seen = Explorer(agent(), lambda: samples).examine(Record(GAME, "a3 b2"), 4).replayed
    assert seen is not None
    assert seen.size == 4  # all corners with the answer in the centre
    assert (seen.iteration.min(), seen.iteration.max()) == (0, 4)
    assert float(seen.value.mean()) == pytest.approx((0 + 1 + 2 + 4) / 40)
    assert float(seen.outcome.mean()) == pytest.approx((0 + 1 + 2 + 4) / 80)
    # The mirror at the diagonal through a3 turns the position into itself: its samples count once.
    right, left = samples.policy[1].view(3, 3).flip(-1), samples.policy[4].view(3, 3)
    # One of the two symmetries that bring c3 (a1) to a3 was used; both fit the position.
    policies = [samples.policy[0], samples.policy[2]]
    candidates = [
        torch.stack([*policies, r.flatten(), m.flatten()]).mean(0)
        for r in (right, right.T)
        for m in (left.flip(0), left.flip(0).T)
    ]
    assert any(torch.allclose(seen.policy.mean(0), candidate) for candidate in candidates)


def test_a_position_that_was_never_seen_is_not_in_the_replay_buffer() -> None:
    assert Explorer(agent(), lambda: samples_of(["b2"])).examine(Record(GAME, "a3"), 4).replayed is None
    assert Explorer(agent()).examine(Record(GAME, "a3"), 4).replayed is None


class AnyStart(TicTacToe):
    """The first move is drawn."""

    def initial(self, batch: int, *, generator: torch.Generator | None = None) -> TicTacToeState:
        return super().step(super().initial(batch), torch.randint(9, (batch,), generator=generator)).state


def test_images_of_a_position_are_found_though_the_start_is_random() -> None:
    """A drawn corner is the image of every other, and its moves lead to none of them. Each policy is the first move."""
    game, count = AnyStart(), 90
    states = game.initial(count, generator=torch.Generator().manual_seed(5))
    first = states.theirs.log2().long()  # of a start the first move, which is now the opponent's
    samples = samples_of(["b2"] * count)._replace(state=states, policy=torch.eye(9)[first])
    record = Record(game)
    cell = int(record.state.theirs.log2())
    (kind,) = (kind for kind in ({0, 2, 6, 8}, {1, 3, 5, 7}, {4}) if cell in kind)
    shown = Explorer(Agent(game, ScrambledEvaluator(game), QUIET, "scrambled"), lambda: samples).examine(record, 4)
    assert shown.replayed is not None
    assert shown.replayed.size == sum(move in kind for move in first.tolist())
    assert set(shown.replayed.policy.argmax(1).tolist()) == {cell}


def test_more_simulations_cost_only_the_evaluations_that_are_new() -> None:
    counted = ScrambledEvaluator(GAME)
    explorer = Explorer(Agent(GAME, counted, QUIET, "scrambled"))
    explorer.examine(Record(GAME), 64)
    once = counted.evaluations
    explorer.examine(Record(GAME), 64)
    assert counted.evaluations == once
    explorer.examine(Record(GAME), 128)
    fresh = ScrambledEvaluator(GAME)
    Explorer(Agent(GAME, fresh, QUIET, "scrambled")).examine(Record(GAME), 128)
    assert once < counted.evaluations < once + fresh.evaluations


def test_the_replay_buffer_is_loaded_when_it_is_needed_and_once() -> None:
    loads = []
    explorer = Explorer(agent(), lambda: loads.append(1) or samples_of(["b2"]))
    assert loads == []
    for _ in range(2):
        explorer.examine(Record(GAME), 4)
    assert loads == [1]


def test_a_finished_game_is_refused() -> None:
    with pytest.raises(ValueError, match="the game is over"):
        Explorer(agent()).examine(Record(GAME, "a3 b3 a2 b2 a1"), 4)
