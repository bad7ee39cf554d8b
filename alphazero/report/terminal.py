"""The terminal's view of a run: bars while an iteration runs, a report after it, tables of matches."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.box import MARKDOWN, SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType, RenderHook, RenderResult
from rich.control import Control
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TaskID
from rich.segment import ControlType
from rich.table import Column, Table
from rich.text import Text

from alphazero.report.fitting_table import FittingTable
from alphazero.report.metrics_table import OUTCOMES, number, percent, said
from alphazero.runs.metrics import opponents_of

if TYPE_CHECKING:
    from alphazero.arena.match import MatchResult, SoloResult

# A report: lines of a label and the items under it.
Report = list[tuple[str, list[str]]]
LABEL_WIDTH = 13
LEGEND = """\
Each iteration: its seconds, the run's time left, shares of CPU time; self-play;
mean losses in nats a sample, at best the targets' entropy; samples to learn
from; points won, a draw as half (won/drawn/lost %). More: docs/training.md"""
ALARM = "not finite"
RIGHT = Column(justify="right", no_wrap=True)
# Of a console: names of runs, games and moves are no markup.
LITERAL: dict[str, Any] = {"markup": False, "emoji": False}


def iteration_report(
    iteration: int, iterations: int, scalars: Mapping[str, float], seconds_left: float | None = None
) -> Report:
    """The lines of an iteration's report, from the scalars that are there, and the run's time left if there is some."""
    times = said("iteration", scalars)
    if seconds_left:
        times.insert(1, f"{clock(seconds_left)} left")
    report: Report = [(heading, said(heading, scalars)) for heading in ("self-play", "learning", "cluster")]
    report.append(("strength", [_against(opponent, scalars) for opponent in opponents_of({iteration: scalars})]))
    report.append((ALARM, [f"{tag} {scalar}" for tag, scalar in scalars.items() if not math.isfinite(scalar)]))
    first = (f"iteration {iteration + 1} of {iterations}", times)
    return [first, *((label, items) for label, items in report if items)]


def pack(items: Sequence[str], width: int | None) -> list[str]:
    """The items in lines of at most `width` characters, unless one item is longer; None: in one line."""
    lines = [*items[:1]] or [""]
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
        return f"reward {number(points)} a game"
    return f"{opponent} {percent(points)} ({'/'.join(f'{100 * share:.0f}' for share in outcomes)})"


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
            if name in result.metrics
            else "–"  # there if a game came to its end
            for name in metrics
            for q in np.nanquantile(result.metrics.get(name, (0.0,)), (0.5, 0.95)).tolist()
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
    columns = [Column(Text(name), overflow="fold", min_width=9 if name else 1, vertical="bottom") for name in words]
    columns += [Column(Text(name), justify="right", no_wrap=True, vertical="bottom") for name in figures]
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
        self.drawn_width = console.width
        super().__init__(
            _Title(console, 24 + 12 * len(columns)), BarColumn(bar_width=None), *columns,
            TimeLeft(table_column=RIGHT), console=console, expand=True, transient=True,
            disable=not console.is_terminal or console.is_dumb_terminal, **options,
        )  # fmt: skip

    def start(self) -> None:
        super().start()
        if not self.disable:
            self.console.push_render_hook(_Resized(self))

    def get_renderable(self) -> RenderableType:
        return self

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draws the bars as they are now, and remembers how wide that is: what was made for another width breaks."""
        self.drawn_width = options.max_width
        yield super().get_renderable()

    def stop(self) -> None:
        """Ends what `start` began; rich alone would print an empty line where no bars are drawn."""
        if self.live.is_started:
            self.console.pop_render_hook()
            super().stop()


class _Resized(RenderHook):
    """Clears what rich would leave above the bars: it takes each of them for one line, however narrow it became."""

    def __init__(self, bars: Bars) -> None:
        self.bars = bars

    def process_renderables(self, renderables: list[Any]) -> list[Any]:
        lines_a_bar = math.ceil(self.bars.drawn_width / self.bars.console.width)
        clear, *others = renderables
        return [clear, *[Control((ControlType.CURSOR_UP, 1)), clear] * (lines_a_bar - 1), *others]


class _Title(ProgressColumn):
    """A bar's title, without its middle where it would leave less than `others` columns of the terminal."""

    def __init__(self, console: Console, others: int) -> None:
        super().__init__(Column(no_wrap=True))
        self.console, self.others = console, others

    def render(self, task: Task) -> Text:
        title, room = task.description, max(12, self.console.width - self.others)
        if len(title) > room:
            title = f"{title[: room // 2]}…{title[room // 2 + 1 - room :]}"
        return Text(title, style="cyan")


class ProgressBars(Bars):
    """Bars of a training run: the parts of the iteration under way, matches under way, and the run."""

    def __init__(
        self,
        console: Console,
        first_iteration: int,
        iterations: int,
        seconds_left: Callable[[], float | None] = lambda: None,
    ) -> None:
        """The run's bar begins at the iterations that are done already. seconds_left: of the run, if they are known."""
        super().__init__(console, _Done(table_column=RIGHT), _Rate(table_column=RIGHT), refresh_per_second=4)
        self._run = self.add_task(
            "run", total=iterations, completed=first_iteration, begun_at=first_iteration, place=_Place.RUN,
            seconds_left=seconds_left,
        )  # fmt: skip
        self._parts: dict[str, TaskID] = {}
        self._matches: dict[str, TaskID] = {}
        self._iteration = 0
        # Rich loses count of the lines on the screen if the number of bars changes while it prints.
        self._display = threading.RLock()

    def say(self, text: Text) -> None:
        """Prints above the bars. Lines stay whole, however long, except on a terminal."""
        with self._display:
            self.console.print(text, soft_wrap=not self.console.is_terminal)

    def start_iteration(self, iteration: int, parts: Mapping[str, int]) -> None:
        """Replaces the bars of the last iteration's parts.

        Another thread may advance a part meanwhile, so the new bars are there before the old ones go.
        Rich's lock must not be held here: `add_task` draws, and drawing takes the display's lock first,
        as the thread that redraws does; each holding one lock and waiting for the other, they would deadlock.
        """
        with self._display:
            old = self._parts
            self._iteration = iteration
            self._parts = {
                name: self.add_task(name, total=max(1, total), place=_Place.PART) for name, total in parts.items()
            }
            for part in old.values():
                self.remove_task(part)
            self.update(self._run, completed=iteration, refresh=True)

    def plan(self, iterations: int) -> None:
        """From now on the run has so many iterations."""
        self.update(self._run, total=iterations)

    def start_match(self, name: str, moves: int) -> None:
        """Adds a match's bar, which iterations neither end nor count; a bar of the same name goes."""
        with self._display:
            self.end_match(name)
            self._matches[name] = self.add_task(name, total=max(1, moves), place=_Place.MATCH, begun_at=0)

    def end_match(self, name: str) -> None:
        """Removes a match's bar, if there is one of this name."""
        with self._display:
            if (match := self._matches.pop(name, None)) is not None:
                self.remove_task(match)
                self.refresh()

    def advance_part(self, part: str, done: int) -> None:
        """Moves the part's bar on, and the run's by the mean of the parts; or that of a match, if it has one still.

        A match may take more moves than were announced: then its total grows.
        """
        with self._lock:
            if (match := self._matches.get(part)) in self._tasks:
                task = self._tasks[match]
                self.update(match, advance=done, total=max(task.total or 0, task.completed + done))
            elif part in self._parts:
                self.advance(self._parts[part], done)
                shares = [self._tasks[task].percentage / 100 for task in self._parts.values()]
                self.update(self._run, completed=self._iteration + sum(shares) / len(shares))

    def get_renderables(self) -> Iterator[Any]:
        """The run's bar last, although it was added first."""
        yield self.make_tasks_table(sorted(self.tasks, key=lambda task: task.fields["place"]))


class _Place(IntEnum):
    """The order of a training run's bars, from the top."""

    PART, MATCH, RUN = range(3)


class _Done(ProgressColumn):
    """The amount done, and the total."""

    def render(self, task: Task) -> Text:
        done, total = (number(math.floor(amount or 0)) for amount in (task.completed, task.total))
        return Text(f"{done} of {total}")


class _Rate(ProgressColumn):
    """The speed of a part or a match; nothing for the run."""

    def render(self, task: Task) -> Text:
        speed = None if task.fields["place"] == _Place.RUN else task.speed
        return Text(f"{number(speed)}/s" if speed else "")


class TimeLeft(ProgressColumn):
    """Time left; that of a run and of a match from the mean speed since it began, because recent ones differ."""

    def render(self, task: Task) -> Text:
        if (planned := task.fields.get("seconds_left")) and (seconds := planned()) is not None:
            return Text(f"{clock(seconds)} left")
        speed = task.speed
        if "begun_at" in task.fields and task.elapsed:
            speed = (task.completed - task.fields["begun_at"]) / task.elapsed
        if not speed or task.remaining is None or task.finished:
            return Text("")
        return Text(f"{clock(task.remaining / speed)} left")


@contextmanager
def progress_bar(console: Console, description: str) -> Iterator[Callable[..., None]]:
    """Yields `show(description, done, total)`, which moves a bar; no total: how much work there is, is unknown."""
    with Bars(console, MofNCompleteColumn(table_column=RIGHT)) as bar:
        task = bar.add_task(description, total=None)

        def show(description: str, done: int = 0, total: int | None = None) -> None:
            bar.update(task, description=description, completed=done, total=total)

        yield show


def clock(seconds: float) -> str:
    """A time as h:mm:ss."""
    return str(timedelta(seconds=math.ceil(seconds)))


def measured(value: float, unit: str) -> str:
    """A figure with its unit."""
    return metres(value) if unit == "m" else f"{value:.3g} {unit}".rstrip()


def metres(length: float) -> str:
    """A length in m, cm, µm or nm."""
    if length >= 1e-4:
        return f"{length:.2f} m" if length >= 1 else f"{100 * length:.2f} cm"
    return f"{1e6 * length:.1f} µm" if length >= 1e-7 else f"{1e9 * length:.1f} nm"
