"""Opponents that fit a game, with players whose time a clock of our own counts."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import alphazero.arena.opponents as module
from alphazero.arena.opponents import expected_moves, fitting_opponents, random_positions, seconds_a_move
from alphazero.arena.players import parse_player
from alphazero.game import State, batch_size
from games.connect_four import ConnectFour, ConnectFourState
from games.tic_tac_toe import TicTacToe
from tests.stubs import Mine

GAME = ConnectFour()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minimax takes 10^depth ms for a position, and any other player 1 ms, by a clock that otherwise stands."""
    now = 0.0

    class Timed:
        name = "timed"

        def __init__(self, check: Callable[[int], object], seconds: float) -> None:
            self.check, self.seconds = check, seconds

        def actions(self, states: State) -> Tensor:
            nonlocal now
            for _ in range(batch_size(states)):
                self.check(0)
                now += self.seconds
            return torch.zeros(batch_size(states), dtype=torch.int64)

    def stoppable(name: str, check: Callable[[int], object]) -> Timed:
        return Timed(check, 1e-3 * 10 ** int(name[8]) if name.startswith("minimax") else 1e-3)

    monkeypatch.setattr(module, "parse_player", lambda name, game, *, seed: name)
    monkeypatch.setattr(module, "Stoppable", stoppable)
    monkeypatch.setattr(time, "thread_time", lambda: now)


def fitted(names: list[str], *, limit: float, games: int = 100) -> tuple[list[str], list[str]]:
    said: list[str] = []
    return list(fitting_opponents(GAME, names, games=games, limit=limit, say=said.append)), said


@pytest.mark.usefixtures("clock")
def test_a_minimax_looks_as_far_ahead_as_the_time_allows() -> None:
    half = expected_moves(GAME, 100) / 2
    assert fitted(["minimax:5"], limit=half * 101) == (["minimax:5"], [])
    names, said = fitted(["random", "minimax:5@0.5"], limit=half * 1.01)
    assert names == ["random", "minimax:3@0.5"]
    minutes = f"{half * 1.01 / 60:.0f} minutes"
    assert said == [f"minimax:5@0.5 would take more than {minutes} for its 100 games: minimax:3@0.5 plays instead"]


@pytest.mark.usefixtures("clock")
def test_any_other_player_that_takes_too_long_is_left_out() -> None:
    half = expected_moves(GAME, 100) / 2
    names, (about_mcts, about_minimax) = fitted(["mcts:100", "minimax:2"], limit=half * 0.9e-3)
    assert names == []
    assert about_mcts.endswith("for its 100 games: it is left out")
    assert about_minimax.startswith("minimax:2 would take more than 0 minutes")


def test_a_player_is_stopped_soon_after_its_time() -> None:
    """Nine plies of connect-four take seconds; a tenth of a second is allowed for each of a few positions."""
    started = time.thread_time()
    assert seconds_a_move(GAME, "minimax:12", limit=0.02) == float("inf")
    assert time.thread_time() - started < 3
    assert seconds_a_move(GAME, "random", limit=1.0) < 0.01
    with pytest.raises(InterruptedError):
        seconds_a_move(GAME, "minimax:12", limit=9.0, check=interrupt)


def interrupt(done: int) -> None:
    raise InterruptedError


def test_lengths_and_positions_are_those_of_games_at_random() -> None:
    """Tic-tac-toe at random ends after 5, 6, 7, 8 and 9 moves in 9.5, 8.8, 26.4, 20.0 and 35.2 % of all games: 7.63."""
    assert 6.5 < expected_moves(TicTacToe(), 1000) / 1000 < 8.5
    positions, length = random_positions(GAME)
    assert isinstance(positions, ConnectFourState)
    assert not positions.done.any()
    stones = [(mine | theirs).bit_count() for mine, theirs in zip(*map(Tensor.tolist, positions[:2]), strict=True)]
    assert min(stones) == 0
    assert max(stones) > length / 2
    assert expected_moves(Mine(), 10) >= 10


def test_names_are_those_of_the_registry() -> None:
    with pytest.raises(ValueError, match="minimx"):
        seconds_a_move(GAME, "minimx:3", limit=1.0)
    assert parse_player("minimax:3", GAME, seed=0).name == "minimax:3"
