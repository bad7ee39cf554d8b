"""The time that rules take is measured method by method, and a slow method is named with the remedy."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from alphazero.game.pace import one_thread, rules_seconds, slow_rules
from games.connect_four import ConnectFour
from games.tic_tac_toe import TicTacToe
from tests.cpu_clock import CpuClock
from tests.game.broken_games import Walk, broken
from tests.stubs import Drift


@pytest.fixture
def two_threads() -> Iterator[None]:
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


METHODS = ("step", "legal", "to_play", "observe", "key")


@pytest.mark.parametrize("method", METHODS)
def test_each_method_is_timed_by_itself(method: str, cpu_clock: CpuClock) -> None:
    """One that takes 10 ms for a batch of 100 takes 100 µs a state; of the others, only looking at the clock counts."""
    game = broken(TicTacToe, **{method: cpu_clock.taking(10e-3, getattr(TicTacToe, method))})
    seconds = rules_seconds(game, game.initial(100))
    assert list(seconds) == list(METHODS)
    assert seconds == pytest.approx(dict.fromkeys(METHODS, 2e-07) | {method: 100.2e-6})


def test_a_game_without_keys_is_not_asked_for_them() -> None:
    assert list(rules_seconds(Walk(), Walk().initial(3))) == ["step", "legal", "to_play", "observe"]


def test_waiting_is_not_counted() -> None:
    game = broken(Walk, observe=lambda self, state: time.sleep(0.003) or state.place.float())
    assert rules_seconds(game, game.initial(1))["observe"] < 1e-3


def test_measuring_is_quick_for_quick_rules(cpu_clock: CpuClock) -> None:
    """Each of five methods of 0.6 ms is called once to compile and four times for 2 ms; `legal` once more for moves."""
    game = broken(TicTacToe, **{name: cpu_clock.taking(0.6e-3, getattr(TicTacToe, name)) for name in METHODS})
    rules_seconds(game, game.initial(100))
    assert cpu_clock.now == pytest.approx(5 * (0.6e-3 + 4 * 0.64e-3) + 0.6e-3)


def test_torch_uses_one_thread_meanwhile_and_its_own_number_after(two_threads: None) -> None:
    used: set[int] = set()
    game = broken(Walk, observe=lambda self, state: used.add(torch.get_num_threads()) or state.place.float())
    rules_seconds(game, game.initial(4))
    assert used == {1}
    assert torch.get_num_threads() == 2
    with pytest.raises(ZeroDivisionError), one_thread():
        print(1 / 0)
    assert torch.get_num_threads() == 2


def test_the_slowest_method_is_named_with_the_remedy() -> None:
    seconds = {"step": 180e-6, "legal": 40e-6, "to_play": 1e-7, "observe": 1e-6}
    assert slow_rules(ConnectFour(), seconds) == (
        "step takes 180 µs a position: write it in whole-batch tensor operations, "
        "or compile it as games/connect_four.py does"
    )
    assert slow_rules(ConnectFour(), seconds | {"step": 1e-6}).startswith("legal takes 40 µs a position: ")
    assert slow_rules(ConnectFour(), seconds | {"step": 1e-6, "legal": 20e-6}) == ""


def test_a_simulation_may_take_longer_than_a_move_on_a_board() -> None:
    assert slow_rules(Drift(), {"step": 180e-6}) == ""
    assert slow_rules(Drift(), {"step": 400e-6}).startswith("step takes 400 µs")


@pytest.mark.parametrize("game", [TicTacToe(), ConnectFour()])
def test_the_games_that_come_along_are_quick(game: Any) -> None:
    assert slow_rules(game, rules_seconds(game, game.initial(128))) == ""
