"""Shows a benchmark: bars while it runs, tables, and files in the folder of the run that it is about.

The curve of a run's strength is made of its checkpoints, which play again once it is over; beside it stands what
training measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import MofNCompleteColumn, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from alphazero.arena.benchmark import Benchmark, CurvePoint, Standing
from alphazero.arena.evaluation import ALONE
from alphazero.arena.match import MatchResult, SoloResult
from alphazero.arena.registry import PlayerSpec
from alphazero.report.colours import INK
from alphazero.report.terminal import RIGHT, Bars, between, make_table, match_table, solo_table
from alphazero.runs.files import (
    BENCHMARK,
    BENCHMARK_CURVE,
    METRICS,
    clear_errors,
    events_folder,
    write_file,
    write_json,
)
from alphazero.runs.metrics import History, read_history

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LONGEST_NAME = 22
RECORDED = {"agent": "strength", "network": "network"}  # the same in the tags of training


def curve_figure(points: Sequence[CurvePoint], history: History, *, title: str) -> Figure:
    """A panel for the agent and one for its network alone, with a line and 95 % intervals for each opponent.

    history: of training, whose points against the same opponents are drawn in thin lines.
    """
    from alphazero.report.curves import OPPONENT_COLOURS, caption, label_ends, series, show_shares
    from alphazero.report.position_figures import literal, new_figure

    opponents = list(dict.fromkeys(point.opponent for point in points))
    end = max((point.iteration for point in points), default=1)
    figure = new_figure(11, 4.4)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, role, name in zip(panels, RECORDED, (f"{title}: the agent", "its network alone"), strict=True):
        for number, opponent in enumerate(opponents):
            colour = OPPONENT_COLOURS[number % len(OPPONENT_COLOURS)]
            trained = series(history, f"{RECORDED[role]}/{opponent or ALONE}/points")
            axes.plot(*trained, color=colour, lw=0.8, alpha=0.7, label="_training")
            own = sorted(point for point in points if (point.role, point.opponent) == (role, opponent))
            if not own:  # the benchmark was stopped
                continue
            label = opponent if len(opponent) <= LONGEST_NAME else f"…{opponent[1 - LONGEST_NAME :]}"
            iterations, shares = [point.iteration for point in own], [point.points for point in own]
            look: dict[str, Any] = {"color": colour, "lw": 1.8, "marker": "o", "ms": 4.5, "mew": 0}
            axes.plot(iterations, shares, label=literal(label or role), **look)
            for point in own:  # a little apart, where several opponents share an iteration
                place = point.iteration + end * 0.006 * (number - (len(opponents) - 1) / 2)
                axes.vlines(place, *point.interval, color=colour, lw=1.2, alpha=0.5)
        measure = "share of points" if opponents != [""] else "mean reward of a game"
        caption(axes, name, f"{measure}, thin as training measured it")
        axes.set_xlabel("iteration", fontsize=9, color=INK)
        axes.set_xlim(0, 1.02 * end)
        axes.tick_params(labelleft=True)
    for axes in panels:  # which share their y-axis
        if opponents != [""]:
            show_shares(axes)
        label_ends(axes)
    return figure


# ------------------------------------------------------------------------------ beside a run


def write_beside_run(benchmark: Benchmark) -> None:
    """Writes benchmark.json, benchmark.png and TensorBoard's events into the run's folder. RunError if it cannot."""
    run, iteration = benchmark.run, benchmark.iteration
    if run is None or iteration is None or not (benchmark.results or benchmark.errors):
        return
    from torch.utils.tensorboard import SummaryWriter  # only now: it and figures are slow to load

    from alphazero.report.position_figures import pixels, png

    points = benchmark.points()
    with clear_errors(run):
        write_json(run / BENCHMARK, benchmark.record())
        with SummaryWriter(events_folder(run)) as events:
            scalars = {(step, tag): scalar for step, tag, scalar in _scalars(benchmark, iteration)}
            for (step, tag), scalar in sorted(scalars.items()):  # TensorBoard expects steps to rise
                events.add_scalar(tag, scalar, step)
            if points:
                figure = curve_figure(points, read_history(run / METRICS), title=run.resolve().name)
                write_file(run / BENCHMARK_CURVE, png(figure))
                events.add_image("benchmark/curve", pixels(figure), iteration, dataformats="HWC")


def _scalars(benchmark: Benchmark, iteration: int) -> Iterator[tuple[int, str, float]]:
    """Iteration, tag and scalar for TensorBoard: benchmark/ for the tables, benchmark_curve/ for the curve."""
    for match in benchmark.matches:
        if (result := benchmark.results.get(match)) is not None:
            tag = f"benchmark/{match.opponent.name if match.opponent else 'alone'}/{_role(match.player)}_points"
            for end, scalar in zip(("", "_low", "_high"), (result.points, *result.interval), strict=True):
                yield iteration, tag + end, scalar
    for test, errors in benchmark.errors.items():
        yield iteration, f"benchmark/error_rate/{Path(test.file).stem}/{_role(test.player)}", errors["all"].rate
    for point in benchmark.points():
        yield point.iteration, f"benchmark_curve/{point.opponent or 'alone'}/{point.role}_points", point.points


def _role(player: PlayerSpec) -> str:
    """The player's name for tags that runs share: without its search budget, unless it is a minimax."""
    return player.name if player.name.startswith("minimax") else player.name.partition(":")[0]


# ------------------------------------------------------------------------------ progress


class Steps(Bars):
    """The steps under way, and above them the whole benchmark; without bars a line for each step that has ended."""

    def __init__(self, console: Console) -> None:
        unit = TextColumn("{task.fields[unit]}")
        super().__init__(console, MofNCompleteColumn(table_column=RIGHT), unit, speed_estimate_period=600)
        self._whole = self.add_task("loading", total=None, unit="")
        self._steps: dict[str, TaskID] = {}

    def begin(self, title: str, total: int, unit: str, *, steps: int) -> Callable[[int], None]:
        self._steps[title] = self.add_task(title, total=total, unit=unit)
        if steps:
            self.update(self._whole, description="all", total=steps, unit="steps")
        return partial(self._advance, self._steps[title])

    def _advance(self, step: TaskID, done: int) -> None:
        """Moves a step's bar on; a match may take more moves than were announced: then its total grows."""
        with self._lock:
            task = self._tasks[step]
            self.update(step, advance=done, total=max(task.total or 0, task.completed + done))

    def end(self, title: str, summary: str) -> None:
        self.remove_task(self._steps.pop(title))
        if summary:
            self.advance(self._whole)
        if summary and self.disable:
            self.console.print(Text(f"{title}: {summary}"), soft_wrap=True)


# ------------------------------------------------------------------------------------- tables


def tables(benchmark: Benchmark) -> Iterator[Table]:
    """A table for each part of the benchmark that has results."""
    title = f"{benchmark.game.name}: {benchmark.agent.title}"
    done = [(match, benchmark.results[match]) for match in benchmark.matches if match in benchmark.results]
    if alone := [(match.player.name, result) for match, result in done if isinstance(result, SoloResult)]:
        yield solo_table(alone, title, benchmark.game.metric_units)
    if rows := [(m.player.name, m.opponent.name, r) for m, r in done if m.opponent and isinstance(r, MatchResult)]:
        yield match_table(rows, title)
    for file in benchmark.positions:
        if any(test.file == file for test in benchmark.errors):
            yield positions_table(benchmark, file)
    if standings := benchmark.standings():
        yield tournament_table(standings)
    if benchmark.points():
        yield curve_table(benchmark)


def positions_table(benchmark: Benchmark, file: str) -> Table:
    """Error rates by stage and difficulty; the first row has the numbers of positions."""
    done = [test for test in benchmark.position_tests if test.file == file and test in benchmark.errors]
    rows = {test.player.name: benchmark.errors[test] for test in done}
    groups = list(next(iter(rows.values())))
    table = make_table(f"mistakes in {Path(file).name}", ["player"], [groups[0], "95 %\ninterval", *groups[1:]])
    counts = [str(rate.positions) for rate in next(iter(rows.values())).values()]
    table.add_row("positions", counts[0], "", *counts[1:], style="dim")
    for player, errors in rows.items():
        rates = ["–" if math.isnan(rate.rate) else f"{rate.rate:.1%}" for rate in errors.values()]
        table.add_row(player, rates[0], between(errors["all"].interval), *rates[1:])
    return table


def tournament_table(standings: Sequence[Standing]) -> Table:
    """Each player's rating, and its share of points against the others, which are numbered by their places."""
    places = [str(number) for number in range(1, len(standings) + 1)]
    table = make_table("round robin", ["", "player"], ["Elo", "95 %\ninterval", "points", *places])
    for place, (rating, points) in zip(places, standings, strict=True):
        against = (f"{points[other.player]:.1%}" if other.player in points else "" for other, _ in standings)
        elo, interval = f"{rating.rating:+.0f}", f"{rating.low:+.0f} to {rating.high:+.0f}"
        table.add_row(place, rating.player, elo, interval, f"{rating.points:.1%}", *against)
    return table


def curve_table(benchmark: Benchmark) -> Table:
    """Points of each checkpoint, the agent's and its network's; of a game for one, the mean reward."""
    points = {(point.iteration, point.opponent, point.role): point.points for point in benchmark.points()}
    iterations = sorted({iteration for iteration, _, _ in points})
    opponents = list(dict.fromkeys(opponent for _, opponent, _ in points))
    earliest_first = range(1, len(iterations))  # where there is no room for all
    title, word = ("mean reward", "") if opponents == [""] else ("points in %", "against")
    figures = [f"iteration\n{i}" for i in iterations]
    table = make_table(f"{title} over the run, agent/network", [word], figures, spare=earliest_first)
    for opponent in opponents:
        pairs = [[points.get((i, opponent, role)) for role in ("agent", "network")] for i in iterations]
        cells = [
            "/".join("–" if p is None else f"{100 * p:.0f}" if opponent else f"{p:.3g}" for p in pair) for pair in pairs
        ]
        table.add_row(opponent or "reward", *cells)
    return table
