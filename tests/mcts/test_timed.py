"""Search by the clock is the search by simulations, wherever the two spend alike; and it keeps to its time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

import alphazero.mcts.timed
from alphazero.arena.players import UntrainedEvaluator
from alphazero.config import SearchConfig
from alphazero.game import Game, State
from alphazero.mcts.gumbel import considered_visits
from alphazero.mcts.planning import planners
from alphazero.mcts.search import search
from alphazero.mcts.timed import LEAST, TimedHalving, search_by_clock
from alphazero.mcts.tree_search import SearchResult
from games.connect_four import ConnectFour
from games.tic_tac_toe import TicTacToe
from games.trebuchet.game import Siege
from tests.evaluators import ScrambledEvaluator
from tests.positions import CONNECT_FOUR, after, random_positions

QUIET = SearchConfig(considered_actions=4).without_noise()


class Plain(ConnectFour):
    """The same without compiled rules, so that its searches are of another kind."""


def ticking(simulations: int) -> Callable[[], float]:
    """A clock by which so many simulations take all of the time, each the same."""
    asked = iter(range(10**6))
    return lambda: next(asked) / simulations


def by_clock(game: Game, states: State, config: SearchConfig, simulations: int) -> SearchResult:
    generator = torch.Generator().manual_seed(1)
    most = replace(config, simulations=10**6)
    return search_by_clock(ScrambledEvaluator(game), game, states, most, generator, ticking(simulations)).result()


@pytest.mark.parametrize("considered", [1, 2, 4, 8, 16])
def test_time_is_halved_as_simulations_are(considered: int) -> None:
    """768 simulations have phases of whole rounds, be they one, two, three or four."""
    halving, simulations = TimedHalving([considered]), 768
    visits = [dict(halving.visits(done / simulations))[considered] for done in range(simulations)]
    assert tuple(visits) == considered_visits(considered, simulations)


def test_the_first_round_is_for_all_though_half_of_the_time_is_over() -> None:
    halving = TimedHalving([4])
    assert [dict(halving.visits(0.6))[4] for _ in range(8)] == [0, 0, 0, 0, 1, 1, 2, 2]


def test_a_round_is_finished_before_fewer_actions_are_left() -> None:
    """Of three actions two are left after half of the time, which here is over in the midst of the second round."""
    halving = TimedHalving([3])
    shares = [0.0, 0.1, 0.2, 0.3, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99]
    assert [dict(halving.visits(share))[3] for share in shares] == [0, 0, 0, 1, 1, 1, 2, 2, 3, 3]


def test_phases_that_time_does_not_allow_are_left_out() -> None:
    """Of eight actions two are left after two thirds of the time, though it jumps there from the start."""
    halving = TimedHalving([8])
    shares = [0.0] * 8 + [0.7] * 4
    assert [dict(halving.visits(share))[8] for share in shares] == [0] * 8 + [1, 1, 2, 2]


@pytest.mark.parametrize("room", [16, 1024])
@pytest.mark.parametrize("algorithm", ["gumbel", "puct"])
@pytest.mark.parametrize("game", [CONNECT_FOUR, Plain(), TicTacToe()], ids=["rules", "kernels", "tic_tac_toe"])
def test_the_clock_alone_changes_nothing(
    game: Game, algorithm: str, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """128 simulations, by their number or by the clock, however often the trees have to be enlarged."""
    monkeypatch.setattr(alphazero.mcts.timed, "ROOM", room)
    config = replace(QUIET, algorithm=algorithm, simulations=128)
    states = random_positions(game, 5, plies=2, seed=3)
    expected = search(ScrambledEvaluator(game), game, states, config, torch.Generator().manual_seed(1))
    for name, found, known in zip(SearchResult._fields, by_clock(game, states, config, 128), expected, strict=True):
        assert found is known is None or torch.equal(found, known), name


def test_trees_of_sampled_actions_are_enlarged_too(monkeypatch: pytest.MonkeyPatch) -> None:
    game, config = Siege(), replace(QUIET, simulations=64, sampled_actions=4)
    states = game.initial(3, generator=torch.Generator().manual_seed(2))
    monkeypatch.setattr(alphazero.mcts.timed, "ROOM", 10)
    inner = planners(game, UntrainedEvaluator(game), config).inner
    expected = search(inner, game, states, config, torch.Generator().manual_seed(1))
    most = replace(config, simulations=10**6)
    generator = torch.Generator().manual_seed(1)
    found = search_by_clock(inner, game, states, most, generator, ticking(64)).result()
    assert expected.actions is not None
    assert found.actions is not None
    assert torch.equal(found.actions, expected.actions)
    assert torch.equal(found.visits, expected.visits)
    assert torch.equal(found.value, expected.value)


def test_it_takes_no_more_than_its_most_simulations() -> None:
    found = search_by_clock(
        ScrambledEvaluator(CONNECT_FOUR), CONNECT_FOUR, after("44"), replace(QUIET, simulations=50), torch.Generator(),
        lambda: 0.0,
    )  # fmt: skip
    assert int(found.result().visits.sum()) == 50


def test_without_time_it_takes_its_least() -> None:
    assert int(by_clock(CONNECT_FOUR, after("44"), QUIET, 1).visits.sum()) == LEAST
