"""Play against a player that fails, and in a game for one without board, keys or symmetry."""

from __future__ import annotations

import io
import re
from typing import NamedTuple

import pytest
import torch
from rich.console import Console
from torch import Tensor

from alphazero.arena.players import SearchBudget
from alphazero.config import SearchConfig
from alphazero.game import Discrete, Game, Transition
from alphazero.game.record import Record
from alphazero.runs.agents import Agent
from alphazero.shell.explorer import Explorer
from alphazero.shell.play import PlayShell
from games.tic_tac_toe import TicTacToe, TicTacToeState
from tests.evaluators import ScrambledEvaluator
from tests.shell.both_shells import shells


class CountdownState(NamedTuple):
    """left: [B] int64, the count that is left."""

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
        ("1", "over after 2 moves, with a reward of 1"),
        ("undo", "left: 2"),
        ("resign", "the player resigns"),
    ):
        printed.truncate(0)
        play.onecmd(line)
        assert answer in printed.getvalue(), line
    explore.begin()
    explore.onecmd("do")
    assert "move 2 · last move" in printed.getvalue()


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


class Marked(TicTacToe):
    """A game whose name and moves are markup to a terminal that looks for it."""

    name = "[/b]"

    def action_name(self, action: int) -> str:
        return f"[/{action}]:x:"


def test_names_are_no_markup() -> None:
    printed = io.StringIO()
    console = Console(file=printed, width=100, force_terminal=True, color_system=None)
    agent = Agent(Marked(), ScrambledEvaluator(TicTacToe()), SearchConfig().without_noise(), "[/i]")
    seats, budget = ["human", "agent:4"], SearchBudget(4)
    shell = PlayShell(Explorer(agent), Record(Marked()), console, seats=seats, budget=budget, seed=1)
    shell.players[1].name = "[/u]"  # type: ignore[union-attr]
    for line in ("[/4]:x:", "hint", "moves", "review", "help"):
        shell.onecmd(line)
        shell.advance()
    said = printed.getvalue()
    for text in (
        "last move [/4]:x:",
        "[/u] thinks …",
        "o ([/u]) plays [/",
        "\n[/4]:x: [/",
        "[/b] has no perfect player",
    ):
        assert text in said, text


def test_a_game_is_over_after_the_most_moves() -> None:
    shell, _, printed = at_the_board(TicTacToe(), max_moves=2)
    shell.onecmd("b2")
    shell.advance()
    assert "a draw after 2 moves, the most that it may have · `restart`" in printed.getvalue()
    shell.onecmd("a3")
    assert "the game is over; `restart` starts another" in printed.getvalue()


class Keyless(TicTacToe):
    """The same without keys, so that nothing is cached."""

    key = Game.key


def at_the_board(
    game: TicTacToe, *, seconds: float | None = None, max_moves: int = 9
) -> tuple[PlayShell, ScrambledEvaluator, io.StringIO]:
    """A person against an agent of 60 simulations or so many seconds, its network, and what is printed."""
    network, printed = ScrambledEvaluator(TicTacToe()), io.StringIO()
    explorer = Explorer(Agent(game, network, SearchConfig().without_noise(), "scrambled", max_moves))
    console = Console(file=printed, width=100, highlight=False)
    budget = SearchBudget(60, seconds)
    shell = PlayShell(explorer, Record(game, ""), console, seats=["human", "agent"], budget=budget, seed=1)
    return shell, network, printed


@pytest.mark.parametrize(
    ("moves", "answer"),
    [
        ("a1 b1 a2 b2", "a3 · you can expect a sure win within 1 move · "),
        ("a1 b2 c3 c1 a3", "you can expect a sure loss within 2 moves · "),
        ("a1 b2 c3 b3 b1 c1 a3 a2", "c2 · you can expect a sure draw · "),
    ],
)
def test_what_is_proven_is_said(moves: str, answer: str) -> None:
    shell, _, printed = at_the_board(TicTacToe())
    shell.explorer.agent = shell.agent = shell.agent._replace(search=SearchConfig().at_the_board(discrete=True))
    for move in moves.split():
        shell.record.play(shell.game.parse_action(move))
    shell.onecmd("hint")
    assert answer in printed.getvalue()


def test_hints_moves_and_the_explorer_are_the_same_with_the_cache_and_cost_less(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said, evaluations = [], []
    for game in (TicTacToe(), Keyless()):
        shell, network, printed = at_the_board(game)
        monkeypatch.setattr("sys.stdin", io.StringIO("do\nundo\nquit\n" * 9))
        for line in ("hint", "b2", "hint", "explore", "undo", "hint", "a1", "swap", "hint"):
            shell.onecmd(line)
            shell.advance()
        said.append(printed.getvalue())
        evaluations.append(network.evaluations)
    assert said[0].count("you can expect") >= 3
    assert said[0] == said[1]
    assert evaluations[0] < 0.6 * evaluations[1]


def test_an_agent_goes_on_with_its_thoughts_and_forgets_them_with_its_seat() -> None:
    """Its tree of 60 simulations becomes that of the position two moves later, and 60 more come to it."""
    shell, _, _ = at_the_board(TicTacToe())
    shell.onecmd("b2")
    shell.advance()
    first = shell.thoughts[1]
    assert first.before == 0
    reply = int(first.tree.visits[0, int(first.tree.children[0, 0, shell.record.actions[-1]])].argmax())
    shell.onecmd(shell.game.action_name(reply))
    shell.advance()
    second = shell.thoughts[1]
    assert second.before > 0
    assert int(second.result().visits.sum()) == second.before + 60
    shell.onecmd("hint")  # by itself
    assert shell.thoughts == {1: second}
    shell.onecmd("budget 50")
    assert shell.thoughts == {}


def test_a_second_hint_asks_the_network_nothing() -> None:
    shell, network, printed = at_the_board(TicTacToe())
    shell.onecmd("hint")
    once = network.evaluations
    assert 30 < once <= 61
    shell.onecmd("hint")
    assert network.evaluations == once
    assert printed.getvalue().count("you can expect") == 2


def test_what_an_agent_did_with_its_seconds_is_shown() -> None:
    shell, _, printed = at_the_board(TicTacToe(), seconds=0.2)
    shell.onecmd("hint")
    found = re.search(r"· ([\d,]+) simulations in (0\.\d\d) s · you can expect", printed.getvalue())
    assert found
    assert int(found[1].replace(",", "")) >= 16
    assert float(found[2]) > 0.0
