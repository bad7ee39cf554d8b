"""Shows a benchmark: bars while it runs, tables, and files in the folder of the run that it is about.

The curve of a run's strength is made of its checkpoints, which play again once it is over; beside it stands what
training measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import MofNCompleteColumn, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from alphazero.arena.benchmark import Benchmark, CurvePoint, PositionPoint, Standing
from alphazero.arena.evaluation import ALONE
from alphazero.arena.match import MatchResult, SoloResult
from alphazero.arena.registry import PlayerSpec
from alphazero.arena.solved import PositionResult
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
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LONGEST_NAME = 22
LINE: dict[str, Any] = {"lw": 1.8, "marker": "o", "ms": 4.5, "mew": 0}
RECORDED = {"agent": "strength", "network": "network"}  # the same in the tags of training


def curve_figure(
    points: Sequence[CurvePoint], history: History, answers: Sequence[PositionPoint] = (), *, title: str
) -> Figure:
    """A panel for the agent and one for its network alone, with a line and 95 % intervals for each opponent.

    history: of training, whose points against the same opponents are drawn in thin lines.
    answers: to solved positions; if there are some, one more panel shows the mistakes.
    """
    from alphazero.report.curves import caption, label_ends, show_shares
    from alphazero.report.position_figures import new_figure

    opponents = list(dict.fromkeys(point.opponent for point in points))
    end = max([point.iteration for point in points] + [answer.iteration for answer in answers], default=1)
    roles = list(zip(RECORDED, (f"{title}: the agent", "its network alone"), strict=True)) if points else []
    count = len(roles) + bool(answers)
    figure = new_figure(5.5 * count, 4.4)
    panels = figure.subplots(1, count, squeeze=False)[0]
    for axes, (role, name) in zip(panels, roles, strict=False):
        _draw_points(axes, role, points, history, end)
        measure = "share of points" if opponents != [""] else "mean reward of a game"
        caption(axes, name, f"{measure}, thin as training measured it")
        if opponents != [""]:
            show_shares(axes)
    if len(roles) == 2 and opponents == [""]:
        panels[1].sharey(panels[0])
    if answers:
        _draw_mistakes(panels[-1], answers)
        caption(panels[-1], "solved positions" if points else f"{title}: solved positions", "mistakes, %")
    for axes in panels:
        axes.set_xlabel("iteration", fontsize=9, color=INK)
        axes.set_xlim(0, 1.02 * end)
        axes.tick_params(labelleft=True)
        label_ends(axes)
    return figure


def _draw_points(axes: Axes, role: str, points: Sequence[CurvePoint], history: History, end: int) -> None:
    """A line for each opponent."""
    from alphazero.report.curves import OPPONENT_COLOURS, series
    from alphazero.report.position_figures import literal

    opponents = list(dict.fromkeys(point.opponent for point in points))
    for number, opponent in enumerate(opponents):
        colour = OPPONENT_COLOURS[number % len(OPPONENT_COLOURS)]
        trained = series(history, f"{RECORDED[role]}/{opponent or ALONE}/points")
        axes.plot(*trained, color=colour, lw=0.8, alpha=0.7, label="_training")
        own = sorted(point for point in points if (point.role, point.opponent) == (role, opponent))
        if not own:  # the benchmark was stopped
            continue
        label = opponent if len(opponent) <= LONGEST_NAME else f"…{opponent[1 - LONGEST_NAME :]}"
        iterations, shares = [point.iteration for point in own], [point.points for point in own]
        axes.plot(iterations, shares, label=literal(label or role), color=colour, **LINE)
        for point in own:  # a little apart, where several opponents share an iteration
            place = point.iteration + end * 0.006 * (number - (len(opponents) - 1) / 2)
            axes.vlines(place, *point.interval, color=colour, lw=1.2, alpha=0.5)


def _draw_mistakes(axes: Axes, answers: Sequence[PositionPoint]) -> None:
    """A line for the agent and for its network in each file of solved positions."""
    from alphazero.report.curves import OPPONENT_COLOURS
    from alphazero.report.position_figures import literal

    files = list(dict.fromkeys(answer.file for answer in answers))
    for number, (file, role) in enumerate((file, role) for file in files for role in RECORDED):
        own = sorted((answer for answer in answers if (answer.file, answer.role) == (file, role)), key=lambda a: a[0])
        if not own:
            continue
        colour = OPPONENT_COLOURS[number % len(OPPONENT_COLOURS)]
        label = role if len(files) == 1 else f"{role}, {Path(file).stem}"[:LONGEST_NAME]
        iterations, rates = [answer.iteration for answer in own], [answer.result.mistakes["all"] for answer in own]
        axes.plot(iterations, [100 * rate.rate for rate in rates], label=literal(label), color=colour, **LINE)
        for iteration, rate in zip(iterations, rates, strict=True):
            low, high = rate.interval
            axes.vlines(iteration, 100 * low, 100 * high, color=colour, lw=1.2, alpha=0.5)
    axes.set_ylim(bottom=0)


# ------------------------------------------------------------------------------ beside a run


def write_beside_run(benchmark: Benchmark) -> None:
    """Writes benchmark.json, benchmark.png and TensorBoard's events into the run's folder. RunError if it cannot."""
    run, iteration = benchmark.run, benchmark.iteration
    if run is None or iteration is None or not (benchmark.results or benchmark.answers):
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
            answers = benchmark.position_points()
            if points or answers:
                figure = curve_figure(points, read_history(run / METRICS), answers, title=run.resolve().name)
                write_file(run / BENCHMARK_CURVE, png(figure))
                events.add_image("benchmark/curve", pixels(figure), iteration, dataformats="HWC")


def _scalars(benchmark: Benchmark, iteration: int) -> Iterator[tuple[int, str, float]]:
    """Iteration, tag and scalar for TensorBoard: benchmark/ for the tables, benchmark_curve/ for the curve."""
    for match in benchmark.matches:
        if (result := benchmark.results.get(match)) is not None:
            tag = f"benchmark/{match.opponent.name if match.opponent else 'alone'}/{_role(match.player)}_points"
            for end, scalar in zip(("", "_low", "_high"), (result.points, *result.interval), strict=True):
                yield iteration, tag + end, scalar
    for test in benchmark.position_tests:
        if test in benchmark.answers:
            for measure, figure in _measures(benchmark.answers[test]).items():
                yield iteration, f"benchmark/{measure}/{Path(test.file).stem}/{_role(test.player)}", figure
    for point in benchmark.points():
        yield point.iteration, f"benchmark_curve/{point.opponent or 'alone'}/{point.role}_points", point.points
    for then, role, file, found in benchmark.position_points():
        for measure, figure in _measures(found).items():
            yield then, f"benchmark_curve/{measure}/{Path(file).stem}/{role}", figure


def _measures(found: PositionResult) -> dict[str, float]:
    """The figures of answers to solved positions, by the tag's name."""
    measures = {"error_rate": found.mistakes["all"].rate, "perfect_moves": found.perfect_rate}
    if found.value:
        measures |= {"value_loss": found.value.loss, "value_wrong_sign": found.value.wrong_rate}
    return measures


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
        if any(test.file == file for test in benchmark.answers):
            yield from positions_tables(benchmark, file)
    if standings := benchmark.standings():
        yield tournament_table(standings)
    if benchmark.points():
        yield curve_table(benchmark)
    if benchmark.position_points():
        yield position_curve_table(benchmark)


def positions_tables(benchmark: Benchmark, file: str) -> Iterator[Table]:
    """Mistakes by stage and difficulty, mistakes by ply, and how near moves and values are to perfect play.

    The first row has the numbers of positions.
    """
    done = [test for test in benchmark.position_tests if test.file == file and test in benchmark.answers]
    rows = {test.player.name: benchmark.answers[test] for test in done}
    groups = list(next(iter(rows.values())).mistakes)
    name = Path(file).name
    yield _mistakes_table(f"mistakes in {name}", rows, [group for group in groups if group.isalpha()])
    yield _mistakes_table("mistakes by ply", rows, [group for group in groups if not group.isalpha()])
    figures = ["perfect\nmoves", "value's\nsquared error", "value's\nsign wrong"]
    table = make_table(f"beside perfect play in {name}", ["player"], figures)
    for player, found in rows.items():
        value = (f"{found.value.loss:.3f}", _percent(found.value.wrong_rate)) if found.value else ("–", "–")
        table.add_row(player, _percent(found.perfect_rate), *value)
    yield table


def _mistakes_table(title: str, rows: Mapping[str, PositionResult], groups: Sequence[str]) -> Table:
    """Error rates in some groups of positions, with the interval if all positions are among them."""

    def cells(of: Callable[[str], str], interval: str) -> list[str]:
        return [cell for group in groups for cell in ((of(group), interval) if group == "all" else (of(group),))]

    table = make_table(title, ["player"], cells(str, "95 %\ninterval"))
    counts = {group: str(rate.positions) for group, rate in next(iter(rows.values())).mistakes.items()}
    table.add_row("positions", *cells(counts.__getitem__, ""), style="dim")
    for player, found in rows.items():
        rates = {group: _percent(rate.rate) for group, rate in found.mistakes.items()}
        table.add_row(player, *cells(rates.__getitem__, between(found.mistakes["all"].interval)))
    return table


def _percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{share:.1%}"


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


def position_curve_table(benchmark: Benchmark) -> Table:
    """Mistakes of each checkpoint in each file of solved positions, the agent's and its network's."""
    rates: dict[tuple[int, str, str], float] = {
        (i, file, role): found.mistakes["all"].rate for i, role, file, found in benchmark.position_points()
    }
    iterations = sorted({iteration for iteration, _, _ in rates})
    figures = [f"iteration\n{i}" for i in iterations]
    table = make_table("mistakes in % over the run, agent/network", ["in"], figures, spare=range(1, len(iterations)))
    for file in benchmark.positions:
        pairs = [[rates.get((i, file, role)) for role in RECORDED] for i in iterations]
        cells = ["/".join("–" if rate is None else f"{100 * rate:.1f}" for rate in pair) for pair in pairs]
        table.add_row(Path(file).name, *cells)
    return table
