"""A shell that shows one position after another, with the agent's view of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import rich.table
from rich.table import Table
from rich.text import Text
from torch import Tensor

from alphazero.arena.players import parse_budget
from alphazero.game.messages import printable
from alphazero.game.record import Record, format_moves, parse_moves
from alphazero.shell.base import OUTCOMES, Shell
from alphazero.shell.explorer import PositionStatistics

CHOICE = "→"  # marks the move that the search plays


class ExploreShell(Shell):
    """Shows one position after another, with the agent's view of it."""

    prompt = "explore: "
    statistics: PositionStatistics | None

    def interrupted(self) -> None:
        self.say("stopped; `more` searches on")

    def move_to(self, record: Record) -> None:
        self.statistics = None
        super().move_to(record)
        if not record.finished:
            self.examine(self.budget.simulations)

    def examine(self, simulations: int) -> None:
        with self.thinking("searching"):
            self.statistics = self.explorer.examine(self.record, simulations)
        self.print_statistics(self.statistics)

    def print_statistics(self, found: PositionStatistics) -> None:
        result = found.search
        self.say(
            f"search {result.value[0]:+.3f} after {found.simulations:,} simulations, {result.depth[0]} deep · "
            f"network alone {result.raw_value[0]:+.3f} · line {self.line(found.line)}"
        )
        if proof := self.proof(result):
            self.say(f"proven: {proof}")
        if seen := found.replayed:
            self.say(
                f"replay buffer: {seen.size:,} samples, value target {seen.value.mean():+.3f}, "
                f"outcome {seen.outcome.mean():+.3f}, iterations {seen.iteration.min()} to {seen.iteration.max()}"
            )
        elif self.explorer.samples() is not None:
            self.say("replay buffer: this position is not in it")
        columns = sorted((column for column in COLUMNS if column.title != "replay" or seen), key=lambda one: -one.rank)
        del columns[max(2, (self.console.width - 8) // 9) :]
        columns.sort(key=COLUMNS.index)
        titles = [rich.table.Column(column.title, justify="right", no_wrap=True) for column in columns]
        table = Table("  move", *titles, box=None, pad_edge=False)
        for action in found.actions:
            mark = CHOICE if action == found.line[0] else " "
            cells = [f"{mark} {self.game.action_name(action)}", *(column.text(found, action) for column in columns)]
            table.add_row(*map(Text, cells), style="bold" if action == found.line[0] else "")
        self.console.print(table)
        self.say(self.choice(found))

    def choice(self, found: PositionStatistics) -> str:
        """What the search plays, and why if that is not the move that leads the policy."""
        chosen, leader, visits = found.line[0], found.actions[0], found.search.visits[0]
        said = f"{CHOICE} {self.game.action_name(chosen)} is what the search plays"
        if chosen == leader:
            return said
        return (
            f"{said}: Gumbel AlphaZero takes the winner of sequential halving, the best score (logit + sigma(Q)) among "
            f"the moves with the most visits, {visits[chosen]:,}; {self.game.action_name(leader)} has more of the "
            f"policy, but was dropped after {visits[leader]:,}"
        )

    # ------------------------------------------------------------------------------ commands

    def do_do(self, argument: str) -> None:
        """do [MOVE]: plays a move; without one, the search's choice"""
        if argument:
            played = [*self.record.actions, *parse_moves(self.game, argument)]
            return self.move_to(Record(self.game, format_moves(self.game, played)))
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
        done = self.statistics.simulations if self.statistics else self.budget.simulations
        wanted = done + int(argument or done)
        self.examine(parse_budget(str(wanted)).simulations)

    def do_solve(self, argument: str) -> None:
        """solve: the exact score of every move here, best first (needs a solver)"""
        if self.record.finished:
            raise ValueError("the game is over")
        with self.thinking("solving"):
            scores = self.game.solve(self.record.state)[0].tolist()
        table = Table("move", "score", "outcome", box=None, pad_edge=False)
        for action in sorted(self.record.legal(), key=lambda one: -scores[one]):
            outcome = OUTCOMES[(scores[action] > 0) - (scores[action] < 0)]
            table.add_row(Text(self.game.action_name(action)), f"{scores[action]:+g}", outcome)
        self.console.print(table)

    def do_budget(self, argument: str) -> None:
        """budget N: the simulations that every position is searched with at first"""
        if not (argument.isdecimal() and int(argument) >= 1):
            raise ValueError(f"now {self.budget.simulations}; say a number of simulations, as `budget 600`")
        self.budget = parse_budget(argument)
        self.move_to(self.record)

    def do_legend(self, argument: str) -> None:
        """legend: what the mark and the columns mean"""
        plays = (
            "the move that the search plays: Gumbel's winner of sequential halving, which has the best score (logit + "
            "sigma(Q)) among the most visited moves; PUCT's most visited"
        )
        self.explain([(CHOICE, plays), *((column.title, column.meaning) for column in COLUMNS)])


class Column(NamedTuple):
    """A column of the explorer's table; where there is little room, those of low rank are left out first."""

    title: str
    rank: int
    meaning: str
    text: Callable[[PositionStatistics, int], str]


def _percent(share: float | Tensor) -> str:
    return f"{100 * float(share):.1f} %"


COLUMNS = (
    Column("policy", 9, "the search's improved policy, from which the network learns",
           lambda p, a: _percent(p.search.policy[0, a])),
    Column("visits", 8, "simulations that went through the move", lambda p, a: f"{p.search.visits[0, a]:,}"),
    Column("share", 1, "the same as a share of all", lambda p, a: _percent(int(p.search.visits[0, a]) / p.simulations)),
    Column("Q", 7, "mean value of the move in the search, for the player to move",
           lambda p, a: f"{p.search.q[0, a]:+.3f}" if p.search.visits[0, a] else ""),
    Column("prior", 6, "the network's policy", lambda p, a: _percent(p.search.prior[0, a])),
    Column("net Q", 5, "the network's value of the position behind the move", lambda p, a: f"{p.network_q[a]:+.3f}"),
    Column("score", 3, "by which the search ranks the moves: Gumbel's logit + sigma(Q), or PUCT's Q + U",
           lambda p, a: f"{p.score[a]:.3f}"),
    Column("replay", 4, "mean policy target of this position in the replay buffer",
           lambda p, a: _percent(p.replayed.policy[:, a].mean()) if p.replayed else ""),
)  # fmt: skip
