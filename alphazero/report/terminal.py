"""The terminal's view of a run: bars while an iteration runs, a report after it, tables of matches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import numpy as np
from rich.box import MARKDOWN, SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.table import Column, Table
from rich.text import Text

from alphazero.arena.match import MatchResult, SoloResult
from alphazero.report.fitting_table import FittingTable
from alphazero.report.metrics_table import OUTCOMES, number, percent, said
from alphazero.runs.metrics import opponents_of

# A report: lines of a label and the items under it.
Report = list[tuple[str, list[str]]]
LABEL_WIDTH = 15
ALARM = "not finite"
RIGHT = Column(justify="right", no_wrap=True)


def iteration_report(iteration: int, iterations: int, scalars: Mapping[str, float]) -> Report:
    """The lines of an iteration's report, from the scalars that are there."""
    report: Report = [(f"iteration {iteration}", [f"{iteration + 1} of {iterations}", *said("iteration", scalars)])]
    report += [(heading, said(heading, scalars)) for heading in ("self-play", "learning", "cluster")]
    report.append(("strength", [_against(opponent, scalars) for opponent in opponents_of({iteration: scalars})]))
    report.append((ALARM, [f"{tag} {scalar}" for tag, scalar in scalars.items() if not math.isfinite(scalar)]))
    return [(label, items) for label, items in report if items]


def pack(items: Sequence[str], width: int | None) -> list[str]:
    """The items in lines of at most `width` characters, unless one item is longer; None: in one line."""
    lines = [items[0]]
    for item in items[1:]:
        longer = f"{lines[-1]} · {item}"
        if width is None or len(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(item)
    return lines


def _against(opponent: str, scalars: Mapping[str, float]) -> str:
    points, *outcomes = (scalars.get(f"strength/{opponent}/{name}", math.nan) for name in ("points", *OUTCOMES))
    if f"strength/{opponent}/win" not in scalars:  # a game for one: points are what it earned
        return f"{opponent} {number(points)}"
    won, drawn, lost = (f"{100 * share:.0f}" for share in outcomes)
    return f"{opponent} {percent(points)} (won {won}, drawn {drawn}, lost {lost} %)"


def match_table(rows: Sequence[tuple[str, str, MatchResult]], title: str) -> Table:
    """A row for each match of a player and an opponent; won, drawn and lost games also by who moved first."""
    figures = ["points", "95 %\ninterval", "won/\ndrawn/\nlost", "moving\nfirst", "moving\nsecond"]
    table = make_table(title, ["player", "against"], [*figures, "ms a\nmove", "dis-\ntinct"])
    for player, opponent, result in rows:
        tallies = ("/".join(map(str, tally)) for tally in (result.total, result.first, result.second))
        counts = *tallies, "/".join(map(pace, result.seconds_a_move)), str(result.distinct_games)
        table.add_row(player, opponent, f"{result.points:.1%}", between(result.interval), *counts)
    return table


def solo_table(rows: Sequence[tuple[str, SoloResult]], title: str, units: Mapping[str, str] | None = None) -> Table:
    """A row for each player of a game for one, with its rewards and the game's own metrics, which have these units."""
    metrics = list(dict.fromkeys(name for _, result in rows for name in result.metrics))
    columns = [f"{name}:\n{figure}" for name in metrics for figure in ("median", "95th\npercentile")]
    figures = ["mean\nreward", "95 %\ninterval", *columns, "ms a\nmove", "least to\ngreatest", "games", "dis-\ntinct"]
    table = make_table(title, ["player"], figures)
    for player, result in rows:
        rewards = f"{result.mean:.4g}", to(result.interval), to((min(result.rewards), max(result.rewards)))
        quantiles = [
            measured(q, (units or {}).get(name, ""))
            for name in metrics
            for q in np.quantile(result.metrics[name], (0.5, 0.95)).tolist()
        ]
        counts = str(len(result.rewards)), str(result.distinct_games)
        table.add_row(player, *rewards[:2], *quantiles, pace(result.seconds_a_move), rewards[2], *counts)
    return table


def make_table(
    title: str,
    words: Sequence[str],
    figures: Sequence[str],
    *,
    spare: Sequence[int] | None = None,
    plain: bool = False,
) -> FittingTable:
    """A table with columns of words, which may be broken, and of figures, which may not; see `FittingTable`.

    plain: in Markdown, whose names stand in one line.
    """
    columns = [Column(name, overflow="fold", min_width=9 if name else 1, vertical="bottom") for name in words]
    columns += [Column(name, justify="right", no_wrap=True, vertical="bottom") for name in figures]
    look: dict[str, Any] = {"box": MARKDOWN} if plain else {"box": SIMPLE_HEAD, "padding": 0}
    return FittingTable(*columns, title=title, spare=spare, **look)


def between(interval: tuple[float, float]) -> str:
    """An interval in percent; 0 and 100 without decimals."""
    return "–".join(f"{100 * bound:.1f}" if 0 < bound < 1 else f"{100 * bound:.0f}" for bound in interval)


def to(interval: tuple[float, float]) -> str:
    """An interval of rewards."""
    return "{:.4g} to {:.4g}".format(*interval)


def pace(seconds: float) -> str:
    """The time in milliseconds, in at least two figures; always short."""
    milliseconds = 1000 * seconds
    if math.isnan(seconds):
        return "–"
    return "<0.1" if milliseconds < 0.1 else f"{milliseconds:.1f}" if milliseconds < 10 else f"{milliseconds:.0f}"


class Bars(Progress):
    """Bars at the foot of a terminal; elsewhere none are drawn, because control characters belong on terminals only."""

    def __init__(self, console: Console, *columns: ProgressColumn, **options: Any) -> None:
        super().__init__(
            TextColumn("{task.description}", style="cyan", markup=False), BarColumn(bar_width=None), *columns,
            TimeLeft(table_column=RIGHT), console=console, expand=True, transient=True,
            disable=not console.is_terminal or console.is_dumb_terminal, **options,
        )  # fmt: skip

    def stop(self) -> None:
        """Ends what `start` began; rich alone would print an empty line where no bars are drawn."""
        if not self.disable:
            super().stop()


class ProgressBars(Bars):
    """Bars of a training run: the parts of the iteration under way, and the run."""

    def __init__(self, console: Console, first_iteration: int, iterations: int) -> None:
        """The run's bar begins at the iterations that are done already."""
        super().__init__(console, _Done(table_column=RIGHT), _Rate(table_column=RIGHT), refresh_per_second=4)
        self._run = self.add_task("run", total=iterations, completed=first_iteration, begun_at=first_iteration)
        self._parts: dict[str, TaskID] = {}
        self._iteration = 0

    def start_iteration(self, iteration: int, parts: Mapping[str, int]) -> None:
        """Replaces the bars of the last iteration's parts, above the run's.

        Another thread may advance a part meanwhile, so the new bars are there before the old ones go.
        Rich's lock must not be held here: `add_task` draws, and drawing takes the display's lock first,
        as the thread that redraws does; each holding one lock and waiting for the other, they would deadlock.
        """
        old = self._parts
        self._iteration = iteration
        self._parts = {name: self.add_task(name, total=max(1, total)) for name, total in parts.items()}
        for part in old.values():
            self.remove_task(part)
        self.update(self._run, completed=iteration)

    def advance_part(self, part: str, done: int) -> None:
        """Moves the part's bar on, and the run's by the mean of the parts."""
        with self._lock:
            self.advance(self._parts[part], done)
            shares = [self._tasks[task].percentage / 100 for task in self._parts.values()]
            self.update(self._run, completed=self._iteration + sum(shares) / len(shares))

    def get_renderables(self) -> Iterator[Any]:
        """The run's bar last, although it was added first."""
        yield self.make_tasks_table(sorted(self.tasks, key=lambda task: "begun_at" in task.fields))


class _Done(ProgressColumn):
    """The amount done, and the total."""

    def render(self, task: Task) -> Text:
        done, total = (number(math.floor(amount or 0)) for amount in (task.completed, task.total))
        return Text(f"{done} of {total}")


class _Rate(ProgressColumn):
    """The speed of a part; nothing for the run."""

    def render(self, task: Task) -> Text:
        speed = None if "begun_at" in task.fields else task.speed
        return Text(f"{number(speed)}/s" if speed else "")


class TimeLeft(ProgressColumn):
    """Time left; the run's from its mean speed since this start, because its parts differ too much for a recent one."""

    def render(self, task: Task) -> Text:
        speed = task.speed
        if "begun_at" in task.fields and task.elapsed:
            speed = (task.completed - task.fields["begun_at"]) / task.elapsed
        if not speed or task.remaining is None or task.finished:
            return Text("")
        return Text(f"{timedelta(seconds=math.ceil(task.remaining / speed))} left")


@contextmanager
def progress_bar(console: Console, description: str) -> Iterator[Callable[..., None]]:
    """Yields `show(description, done, total)`, which moves a bar; no total: how much work there is, is unknown."""
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task(description, total=None)

        def show(description: str, done: int = 0, total: int | None = None) -> None:
            bar.update(task, description=description, completed=done, total=total)

        yield show


def measured(value: float, unit: str) -> str:
    """A figure with its unit."""
    return metres(value) if unit == "m" else f"{value:.3g} {unit}".rstrip()


def metres(length: float) -> str:
    """A length in m, cm, µm or nm."""
    if length >= 1e-4:
        return f"{length:.2f} m" if length >= 1 else f"{100 * length:.2f} cm"
    return f"{1e6 * length:.1f} µm" if length >= 1e-7 else f"{1e9 * length:.1f} nm"
