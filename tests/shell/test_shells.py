"""The shells within this process: what needs a solver, another game than the usual ones, or the colours."""

from __future__ import annotations

import io
from typing import NamedTuple

import pytest
import torch
from rich.console import Console
from torch import Tensor

from alphazero.arena.minimax import minimax
from alphazero.arena.players import SearchBudget
from alphazero.config import SearchConfig
from alphazero.game import Discrete, Game, Transition
from alphazero.game.record import Record
from alphazero.mcts.evaluator import UniformEvaluator
from alphazero.runs.agents import Agent
from alphazero.shell.base import draw, printable
from alphazero.shell.explore import ExploreShell
from alphazero.shell.explorer import Explorer
from alphazero.shell.play import PlayShell
from games.tic_tac_toe import TicTacToe, TicTacToeState


class SolvedTicTacToe(TicTacToe):
    """Minimax to the end is perfect; the sooner a win, the larger the score."""

    def solve(self, state: TicTacToeState) -> Tensor:
        return minimax(self, state, depth=9).float()


def shells(game: Game, moves: str = "") -> tuple[PlayShell, ExploreShell, io.StringIO]:
    """Both shells after the moves, and what they print. The second seat is minimax of depth 1."""
    agent = Agent(game, UniformEvaluator(game), SearchConfig().without_noise(), "uniform")
    printed = io.StringIO()
    console = Console(file=printed, width=100, highlight=False)
    explorer, budget = Explorer(agent), SearchBudget(8)
    seats = ["human", "minimax:1"][: game.num_players]
    play = PlayShell(explorer, Record(game, moves), console, seats=seats, budget=budget, seed=1)
    return play, ExploreShell(explorer, Record(game, moves), console, budget=budget), printed


def test_a_review_names_the_mistakes() -> None:
    """x takes a corner, o answers at the edge: the lost reply. Then x lets the win go, and o gives it back."""
    play, _, printed = shells(SolvedTicTacToe(), "a3 b3 b1 b2")
    play.onecmd("review")
    lines = printed.getvalue().splitlines()
    rows = [line.split() for line in lines if line[:1].isdigit()]
    assert [(row[1], row[2], row[4], row[5]) for row in rows] == [
        ("x", "a3", "draw", "draw"),
        ("o", "b3", "draw", "loss"),
        ("x", "b1", "win", "draw"),
        ("o", "b2", "draw", "loss"),  # a1 then threatens a2 and c1
    ]
    assert rows[1][6:] == ["b2"]  # only the centre holds against a corner
    assert lines[-1] == "mistakes at moves 2, 3, 4"


def test_a_game_without_mistakes_and_one_without_moves() -> None:
    play, _, printed = shells(SolvedTicTacToe(), "a3 b2")
    play.onecmd("review")
    assert printed.getvalue().endswith("no mistakes\n")
    play.onecmd("restart")
    play.onecmd("review")
    assert printed.getvalue().endswith("there is no move to review yet\n")


def test_the_explorer_asks_the_solver() -> None:
    _, explore, printed = shells(SolvedTicTacToe(), "a3")
    explore.onecmd("solve")
    rows = [line.split() for line in printed.getvalue().splitlines()[1:]]
    assert rows[0] == ["b2", "+0", "draw"]
    assert len(rows) == 8
    assert {row[-1] for row in rows[1:]} == {"loss"}


class CountdownState(NamedTuple):
    """left: [B] int64, what is still to be counted down."""

    left: Tensor


class Countdown(Game):
    """A game for one without a board: take 1 or 2 from 4; a point for coming out at 0."""

    name = "countdown"
    num_players = 1
    actions = Discrete(2)
    observation_shape = (1,)

    def initial(self, batch: int, *, generator: torch.Generator | None = None) -> CountdownState:
        return CountdownState(torch.full((batch,), 4))

    def to_play(self, state: CountdownState) -> Tensor:
        return torch.zeros(len(state.left), dtype=torch.int8)

    def legal(self, state: CountdownState) -> Tensor:
        return torch.ones(len(state.left), 2, dtype=torch.bool)

    def step(self, state: CountdownState, action: Tensor) -> Transition:
        finished = state.left <= 0
        left = torch.where(finished, state.left, state.left - 1 - action)
        return Transition(CountdownState(left), ((left == 0) & ~finished).float(), left <= 0)

    def observe(self, state: CountdownState) -> Tensor:
        return state.left[:, None].float()


def test_a_game_for_one_without_board_keys_or_symmetry_is_played_too() -> None:
    play, explore, printed = shells(Countdown())
    for line, answer in (
        ("board", "left: 4"),
        ("1", "move 2 · last move 1 · the player to move (human)"),
        ("flip", "countdown has no symmetry"),
        ("swap", "countdown is a game for one"),
        ("side first", "countdown is a game for one"),
        ("1", "over after 2 moves, with 1 points"),
        ("undo", "left: 2"),
        ("resign", "the player resigns"),
    ):
        printed.truncate(0)
        play.onecmd(line)
        assert answer in printed.getvalue(), line
    explore.begin()
    explore.onecmd("do")
    assert "move 2 · last move" in printed.getvalue()


@pytest.mark.parametrize(("text", "shown"), [("abc", "'abc'"), ("a\x1b[2J", r"'a\x1b[2J'"), ("é", "'é'")])
def test_what_was_typed_is_shown_without_control_characters(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_long_garbage_is_cut() -> None:
    assert len(printable("x" * 10_000)) < 50


def test_the_board_is_coloured_and_the_last_move_in_brackets() -> None:
    drawn = draw(Record(TicTacToe(), "b2 a3"), colours=True)
    assert drawn.plain == "3 [o] .  .\n2  .  x  .\n1  .  .  .\n   a  b  c"
    styled = {drawn.plain[span.start : span.end]: str(span.style) for span in drawn.spans}
    assert "blue" in styled["x"]
    assert "yellow" in styled["o"]
    plain = draw(Record(TicTacToe(), "b2 a3"), colours=False)
    assert not [span for span in plain.spans if span.style]
    assert plain.plain == drawn.plain


class Refusing(TicTacToe):
    """A game whose solver fails once it is asked about a position."""

    def solve(self, state: TicTacToeState) -> Tensor:
        if len(state.done):
            raise ValueError("the solver has lost its book")
        return torch.zeros(0, 9)


def test_a_player_that_fails_stops_the_game_and_loses_nothing() -> None:
    play, _, printed = shells(Refusing())
    play.onecmd("opponent perfect")
    play.postcmd(play.onecmd("b2"), "b2")
    assert printed.getvalue().endswith("the solver has lost its book\n")
    printed.truncate(0)
    play.postcmd(play.onecmd("moves"), "moves")
    assert "b2" in printed.getvalue()
    play.onecmd("opponent minimax:1")
    play.postcmd(play.onecmd("continue"), "continue")
    assert "o (minimax:1) plays" in printed.getvalue()


def test_capital_letters_do_as_well() -> None:
    play, _, printed = shells(TicTacToe())
    play.onecmd("B2")
    play.onecmd("MOVES")
    assert printed.getvalue().endswith("b2\n")


def test_several_moves_are_played_all_or_none() -> None:
    _, explore, printed = shells(TicTacToe(), "b2")
    explore.onecmd("do a3 b2 c1")
    assert "b2 is not legal here" in printed.getvalue()
    assert explore.record.moves == "b2"
    explore.onecmd("do a3 c1")
    assert explore.record.moves == "b2 a3 c1"
