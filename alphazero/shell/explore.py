"""A shell that shows one position after another, with the agent's view of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from alphazero.arena.players import SearchBudget, parse_budget
from alphazero.game.record import Record, parse_moves
from alphazero.runs.agents import Agent
from alphazero.shell.base import OUTCOMES, Shell, printable
from alphazero.shell.explorer import ActionStatistics, Explorer, PositionStatistics


class ExploreShell(Shell):
    """Shows one position after another, with the agent's view of it."""

    prompt = "explore: "

    def __init__(
        self, agent: Agent, record: Record, console: Console, *, budget: SearchBudget, explorer: Explorer
    ) -> None:
        super().__init__(agent, record, console, budget=budget)
        self.explorer = explorer
        self.simulations = budget.simulations
        self.statistics: PositionStatistics | None = None

    def begin(self) -> None:
        self.move_to(self.record)

    def interrupted(self) -> None:
        self.say("stopped; `more` searches on")

    def play(self, action: int) -> None:
        self.record.play(action)
        self.move_to(self.record)

    def move_to(self, record: Record) -> None:
        self.record, self.simulations, self.statistics = record, self.budget.simulations, None
        self.show()
        if not record.finished:
            self.examine(self.simulations)

    def examine(self, simulations: int) -> None:
        with self.thinking("searching"):
            self.statistics = self.explorer.examine(self.record, simulations)
        self.simulations = simulations
        self.print_statistics(self.statistics)

    def print_statistics(self, found: PositionStatistics) -> None:
        self.say(
            f"search {found.value:+.3f} after {found.simulations:,} simulations, {found.depth} deep · "
            f"network alone {found.network_value:+.3f} · line {self.line(found.line)}"
        )
        if found.replay:
            seen = found.replay
            self.say(
                f"replay buffer: {seen.samples:,} samples, value target {seen.value:+.3f}, "
                f"outcome {seen.outcome:+.3f}, iterations {seen.oldest} to {seen.newest}"
            )
        elif self.explorer.samples is not None:
            self.say("replay buffer: this position is not in it")
        columns = [column for column in COLUMNS if column.title != "replay" or found.replay]
        room = self.console.width - 8
        while len(columns) * 9 > room and len(columns) > 2:
            columns.remove(min(columns, key=lambda column: column.rank))
        table = Table("move", box=None, pad_edge=False)
        for column in columns:
            table.add_column(column.title, justify="right", no_wrap=True)
        for row in found.actions:
            cells = [self.agent.game.action_name(row.action), *(column.text(row) for column in columns)]
            table.add_row(*map(Text, cells), style="bold" if row.action == found.line[0] else "")
        self.console.print(table)

    # ------------------------------------------------------------------------------ commands

    def do_do(self, argument: str) -> None:
        """do [MOVE]: plays a move; without one, the search's choice"""
        if argument:
            after = Record(self.agent.game, self.record.moves)
            for action in parse_moves(self.agent.game, argument):
                after.play(action)
            return self.move_to(after)
        if self.record.finished:
            raise ValueError("the game is over; `undo` takes back")
        if self.statistics is None:
            raise ValueError("the search was stopped; `more` searches on, or name a move")
        self.play(self.statistics.line[0])

    def do_go(self, argument: str) -> None:
        """go MOVES: jumps to the position after these moves from the start"""
        self.do_load(argument)

    def do_more(self, argument: str) -> None:
        """more [N]: searches with N simulations more; without N, with twice as many"""
        if argument and not (argument.isdecimal() and int(argument) >= 1):
            raise ValueError(f"{printable(argument)} is no number of simulations; say `more 1000`")
        wanted = self.simulations + int(argument or self.simulations)
        self.examine(parse_budget(str(wanted)).simulations)

    def do_undo(self, argument: str) -> None:
        """undo: takes the last move back"""
        self.record.undo()
        self.move_to(self.record)

    def do_solve(self, argument: str) -> None:
        """solve: the exact score of every move here, best first (needs a solver)"""
        if self.record.finished:
            raise ValueError("the game is over")
        with self.thinking("solving"):
            scores = self.agent.game.solve(self.record.state)[0].tolist()
        table = Table("move", "score", "outcome", box=None, pad_edge=False)
        for action in sorted(self.record.legal(), key=lambda one: -scores[one]):
            outcome = OUTCOMES[(scores[action] > 0) - (scores[action] < 0)]
            table.add_row(Text(self.agent.game.action_name(action)), f"{scores[action]:+g}", outcome)
        self.console.print(table)

    def do_budget(self, argument: str) -> None:
        """budget N: the simulations that every position is searched with at first"""
        if not (argument.isdecimal() and int(argument) >= 1):
            raise ValueError(f"now {self.budget.simulations}; say a number of simulations, as `budget 600`")
        self.budget = parse_budget(argument)
        self.move_to(self.record)

    def do_legend(self, argument: str) -> None:
        """legend: what the columns mean"""
        table = Table.grid(padding=(0, 2))
        for column in COLUMNS:
            table.add_row(Text(column.title, style="cyan"), column.meaning)
        self.console.print(table)


class Column(NamedTuple):
    """A column of the explorer's table; where there is little room, those of low rank are left out first."""

    title: str
    rank: int
    meaning: str
    text: Callable[[ActionStatistics], str]


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.3f}"


COLUMNS = (
    Column("policy", 9, "the search's improved policy, from which the network learns", lambda a: _percent(a.policy)),
    Column("visits", 8, "simulations that went through the move", lambda a: f"{a.visits:,}"),
    Column("share", 1, "the same as a share of all", lambda a: _percent(a.visit_share)),
    Column("Q", 7, "mean value of the move in the search, for the player to move", lambda a: _signed(a.q)),
    Column("prior", 6, "the network's policy", lambda a: _percent(a.prior)),
    Column("net Q", 5, "the network's value of the position behind the move", lambda a: _signed(a.network_q)),
    Column("score", 3, "by which the search ranks the moves: Gumbel's logit + sigma(Q), or PUCT's Q + U",
           lambda a: f"{a.score:.3f}"),
    Column("replay", 4, "mean policy target of this position in the replay buffer", lambda a: _percent(a.replayed)),
)  # fmt: skip
