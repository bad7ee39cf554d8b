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
from alphazero.shell.explorer import Explorer
from games.tic_tac_toe import TicTacToe
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
    assert sorted(row.action for row in shown.actions) == record.legal()
    assert shown.line[0] == int(found.action[0])
    assert (shown.value, shown.network_value) == (float(found.value[0]), float(found.raw_value[0]))
    assert sum(row.visits for row in shown.actions) == shown.simulations == 40
    for row in shown.actions:
        assert row.policy == float(found.policy[0, row.action])
        assert row.visits == int(found.visits[0, row.action])
        assert row.visit_share == row.visits / 40
        assert row.prior == float(found.prior[0, row.action])
        assert row.q == (float(found.q[0, row.action]) if row.visits else None)
    assert [row.policy for row in shown.actions] == sorted((row.policy for row in shown.actions), reverse=True)


def test_the_gumbel_score_is_the_logarithm_of_the_improved_policy() -> None:
    """Equation 11 of Danihelka et al. 2022: pi' = softmax(logits + sigma(completed Q))."""
    shown = Explorer(agent()).examine(Record(GAME, "b2"), 40)
    total = sum(math.exp(row.score) for row in shown.actions)
    for row in shown.actions:
        assert math.exp(row.score) / total == pytest.approx(row.policy, abs=1e-5)


def test_the_puct_score_is_that_of_the_paper() -> None:
    """Q + C(s) P sqrt(N) / (1 + n); unvisited actions have the node's value, N counts its own evaluation."""
    shown = Explorer(agent(PUCT)).examine(Record(GAME, "b2"), 40)
    constant = math.log((1 + 41 + PUCT.c_base) / PUCT.c_base) + PUCT.c_init
    for row in shown.actions:
        q = shown.value if row.q is None else row.q
        assert row.score == pytest.approx(q + constant * row.prior * math.sqrt(41) / (1 + row.visits), abs=1e-5)


def test_the_networks_q_is_its_value_one_move_on_with_the_sign_turned() -> None:
    record = Record(GAME, "a3 b3 a2 b2")  # x completes the first column with a1
    shown = Explorer(agent()).examine(record, 8)
    for row in shown.actions:
        after = Record(GAME, record.moves)
        after.play(row.action)
        value = 1.0 if after.finished else -float(ScrambledEvaluator(GAME)(after.state).value[0])
        assert row.network_q == pytest.approx(value)
    assert {GAME.action_name(row.action): row.network_q for row in shown.actions}["a1"] == 1.0


def samples_of(moves: list[str]) -> Samples:
    generator = torch.Generator().manual_seed(1)
    count = len(moves)
    number = torch.arange(count)
    return Samples(
        state=concatenate([Record(GAME, each).state for each in moves]),
        policy=torch.rand(count, 9, generator=generator),
        value=number / 10,
        outcome=number / 20,
        drawn=torch.zeros(count),
        root_value=torch.zeros(count),
        plies_left=torch.ones(count, dtype=torch.int32),
        iteration=number.int(),
        weight=torch.ones(count),
        sampled=no_actions(count),
    )


def test_the_replay_buffer_is_asked_for_the_position_and_its_mirror_images() -> None:
    samples = samples_of(["a3 b2", "c3 b2", "a3 b2", "b2 a3", "a1 b2", "a3 c2"])
    seen = Explorer(agent(), lambda: samples).examine(Record(GAME, "a3 b2"), 4).replay
    assert seen is not None
    assert seen.samples == 4  # all corners with the answer in the centre
    assert (seen.oldest, seen.newest) == (0, 4)
    assert seen.value == pytest.approx((0 + 1 + 2 + 4) / 40)
    assert seen.outcome == pytest.approx((0 + 1 + 2 + 4) / 80)
    # The mirror at the diagonal through a3 turns the position into itself: its samples count once.
    right, left = samples.policy[1].view(3, 3).flip(-1), samples.policy[4].view(3, 3)
    # One of the two symmetries that bring c3 (a1) to a3 was used; both fit the position.
    policies = [samples.policy[0], samples.policy[2]]
    candidates = [
        torch.stack([*policies, r.flatten(), m.flatten()]).mean(0)
        for r in (right, right.T)
        for m in (left.flip(0), left.flip(0).T)
    ]
    assert any(torch.allclose(seen.policy, candidate) for candidate in candidates)


def test_a_position_that_was_never_seen_is_not_in_the_replay_buffer() -> None:
    assert Explorer(agent(), lambda: samples_of(["b2"])).examine(Record(GAME, "a3"), 4).replay is None
    assert Explorer(agent()).examine(Record(GAME, "a3"), 4).replay is None


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
