"""The comparison with OpenSpiel's rules passes, and fails where rules differ. The games' own tests play more of it."""

from __future__ import annotations

import pytest
from torch import Tensor

from alphazero.game import Transition
from benchmarks import rules
from benchmarks.rules import PAIRS, Pair, hex_board, play_beside, same_name, turned_over
from games.hex import Hex, HexState
from tests.commands import Command


def test_every_game_agrees(command: Command) -> None:
    done = command(rules.main, "--games", 5)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("agree") == len(PAIRS) == 7
    assert "othello_8x8" in done.stdout


def test_another_game_is_found_out(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "PAIRS", (hex_board(4), Pair("games.hex:Hex(side=4)", "hex(board_size=3)", same_name)))
    done = command(rules.main, "--games", 5)
    assert done.returncode == 1
    assert done.stdout.count("agree") == 1
    assert "legal moves: " in done.stdout


class SmallHex(Hex):
    def __init__(self) -> None:
        super().__init__(side=3)


class Lost(SmallHex):
    """Who connects loses."""

    def step(self, state: HexState, action: Tensor) -> Transition[HexState]:
        transition = super().step(state, action)
        return transition._replace(reward=-transition.reward)


class Endless(SmallHex):
    def step(self, state: HexState, action: Tensor) -> Transition[HexState]:
        transition = super().step(state, action)
        return transition._replace(done=transition.done & False)


class SecondFirst(SmallHex):
    def to_play(self, state: HexState) -> Tensor:
        return 1 - state.turn


@pytest.mark.parametrize(
    ("game", "message"),
    [
        (Lost, "the reward: -1.0 where OpenSpiel has 1.0\n"),
        (Endless, "the end: False where OpenSpiel has True\n"),
        (SecondFirst, "the player to move: 1 where OpenSpiel has 0\n1 [.] [.] [.]"),
    ],
)
def test_the_first_difference_is_told_with_the_position(game: type[Hex], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        play_beside(Pair(f"{__name__}:{game.__name__}", "hex(board_size=3)", same_name), games=20, seed=0)


def test_the_rules_in_tensors_are_compared_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(state: HexState, action: Tensor) -> Transition[HexState]:
        transition = Hex(3).step(state, action)
        return transition._replace(reward=-transition.reward)

    monkeypatch.setattr("games.hex.step_in_tensors", lost)
    with pytest.raises(AssertionError, match="the compiled `step` gives another reward"):
        play_beside(hex_board(3), games=20, seed=0)


def test_breakthroughs_names_are_turned_over() -> None:
    assert [turned_over(6)(name) for name in ("a6b5", "b5a4*", "f1g2*")] == ["a1b2", "b2a3", "f6g5"]
