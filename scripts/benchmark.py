"""Measures an agent: matches against other players, mistakes on solved positions, a round robin, its run's curve.

    scripts/benchmark.py AGENT [--against minimax:5,mcts:1000,random] [--games 200] [--simulations 600]
                         [--positions FILE.csv] [--seed S] [--json OUT.json]
                         [--tournament PATH,minimax:5] [--curve 4] [--curve-simulations 64]
                         [--workers N|auto] [--ray-address HOST:PORT]

AGENT is a run's folder, a checkpoint's folder, or an agent.onnx. Opponents may be such paths, too.

What concerns a run's folder is written there as well: benchmark.json, benchmark.png, and figures for TensorBoard.
Ctrl-C ends the benchmark and keeps what is finished. The same seed gives the same figures, apart from times.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from alphazero.shell import cli

# isort: split
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text

from alphazero.arena.benchmark import Benchmark, Standing, Watcher, write_json
from alphazero.arena.match import MatchResult, SoloResult
from alphazero.arena.plan import plan
from alphazero.arena.players import parse_budget
from alphazero.arena.registry import PLAYERS
from alphazero.game import Game
from alphazero.parallel.executor import Crew, CrewError, Threads, available_cores
from alphazero.report.terminal import between, make_table, match_table, solo_table


def main() -> int:
    return cli.run(measure, wrong=(ValueError,), errors=(CrewError,))


def parse_arguments() -> argparse.Namespace:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("agent", type=Path, help="a run's folder, a checkpoint's folder, or an agent.onnx")
    parser.add_argument(
        "--against",
        metavar="NAMES",
        type=names,
        help=f"opponents, separated by commas: {PLAYERS}. Default: random,minimax:1,minimax:3,minimax:5,mcts:1000; "
        "none beside --tournament",
    )
    parser.add_argument("--games", type=int, default=200, help="games of each match, an even number; default: 200")
    parser.add_argument(
        "--simulations",
        metavar="BUDGET",
        type=cli.option(parse_budget),
        default="600",
        help="simulations a move of the agent and of opponents that are paths, or seconds as 2s; default: 600",
    )
    parser.add_argument(
        "--positions",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="a file of solved positions (may be repeated)",
    )
    parser.add_argument("--seed", type=cli.seed, default=1, help="default: 1")
    parser.add_argument("--json", metavar="FILE", type=Path, help="where to write the figures")
    parser.add_argument(
        "--tournament", metavar="NAMES", type=names, default=(), help="a round robin of AGENT and all of these, rated"
    )
    parser.add_argument(
        "--curve",
        metavar="N",
        type=int,
        default=4,
        help="of a run: this many earlier checkpoints play, too, a quarter of the games; 0: none; default: 4",
    )
    parser.add_argument(
        "--curve-simulations",
        metavar="BUDGET",
        type=cli.option(parse_budget),
        help="of agents on the curve; default: as --simulations, but at most 64",
    )
    parser.add_argument(
        "--workers",
        metavar="N",
        type=worker_count,
        default=0,
        help="processes that play and measure, on one machine or many, through Ray; 0: threads of this process, without"
        " Ray; auto: as many as the machines' cores allow. The figures do not depend on it. Default: 0",
    )
    parser.add_argument(
        "--ray-address",
        metavar="ADDRESS",
        default="",
        help="the Ray cluster to join: auto (the one on this machine), or HOST:PORT, with as many workers as it allows "
        "unless --workers is given; default: one of our own, on this machine, if there are --workers",
    )
    arguments = parser.parse_args()
    if arguments.json and not arguments.json.absolute().parent.is_dir():
        parser.error(f"{arguments.json} cannot be written: its folder does not exist")
    return arguments


def names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


@cli.option
def worker_count(text: str) -> int | str:
    if text == "auto" or text.isdecimal():
        return text if text == "auto" else int(text)
    raise ValueError(f"{text!r} is neither a number from 0 nor auto")


def measure() -> int:
    arguments, console = parse_arguments(), Console(highlight=False, markup=False)
    with ExitStack() as stack:  # the crew is left last: a cluster's end takes seconds, the figures should not wait
        with watching(console) as watcher:
            benchmark = plan(
                arguments.agent,
                watcher,
                against=arguments.against,
                tournament=arguments.tournament,
                games=arguments.games,
                budget=arguments.simulations,
                seed=arguments.seed,
                files=arguments.positions,
                curve=arguments.curve,
                curve_budget=arguments.curve_simulations,
            )
            try:
                crew = stack.enter_context(crew_of(arguments, benchmark.game, console))
                benchmark.run_all(watcher, crew)
                code = 0
            except KeyboardInterrupt:
                code = 130
        for table in tables(benchmark):
            console.print(table)
        for note in benchmark.notes:
            console.print(note)
        if code:
            console.print("Stopped: the figures above are what was finished.")
        if arguments.json:
            write_json(arguments.json, benchmark.record())
        benchmark.write_beside_run()
    return code


@contextmanager
def crew_of(arguments: argparse.Namespace, game: Game, console: Console) -> Iterator[Crew]:
    """Threads of this process, or Ray's workers, a core each. Ray is loaded only if it is used."""
    if not (arguments.workers or arguments.ray_address):
        yield Threads(None, available_cores())  # never left: that would wait for whatever search is under way
        return
    from alphazero.parallel.ray_cluster import Needs, cluster, room
    from alphazero.parallel.ray_executor import RayCrew

    core = Needs(1, 0)
    modules = (type(game).__module__,)
    with cluster(arguments.ray_address, cores=available_cores(), modules=modules):
        size = max(1, room(core)) if arguments.workers in (0, "auto") else arguments.workers
        with RayCrew(lambda threads: None, size, core, say=partial(console.print, soft_wrap=True)) as crew:
            yield crew


# ----------------------------------------------------------------------------------- progress


@contextmanager
def watching(console: Console) -> Iterator[Watcher]:
    """Bars on a terminal; elsewhere a line for each step that has ended, without control characters."""
    if not console.is_terminal or console.is_dumb_terminal:
        yield Lines(console)
        return
    right = Column(justify="right", no_wrap=True)
    with Progress(
        TextColumn("{task.description}", style="cyan", markup=False),
        BarColumn(bar_width=None),
        MofNCompleteColumn(table_column=right),
        TextColumn("{task.fields[unit]}"),
        TimeLeft(table_column=right),
        console=console,
        expand=True,
        transient=True,
        speed_estimate_period=600,
    ) as progress:
        yield Bars(progress)


class TimeLeft(TimeRemainingColumn):
    """Says what the time is."""

    def render(self, task: Task) -> Text:
        shown = super().render(task)
        return shown + " left" if shown.plain and task.time_remaining is not None else Text("")


class Lines:
    """A line for each step that has ended."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def begin(self, title: str, total: int, unit: str, *, steps: int) -> Callable[[int], None]:
        return lambda done: None

    def end(self, title: str, summary: str) -> None:
        if summary:
            self._console.print(f"{title}: {summary}", soft_wrap=True)


class Bars:
    """The steps under way, and above them the whole benchmark."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._whole = progress.add_task("loading", total=None, unit="")
        self._steps: dict[str, TaskID] = {}

    def begin(self, title: str, total: int, unit: str, *, steps: int) -> Callable[[int], None]:
        self._steps[title] = self._progress.add_task(title, total=total, unit=unit)
        if steps:
            self._progress.update(self._whole, description="all", total=steps, unit="steps")
        return partial(self._progress.advance, self._steps[title])

    def end(self, title: str, summary: str) -> None:
        self._progress.remove_task(self._steps.pop(title))
        if summary:
            self._progress.advance(self._whole)


# ------------------------------------------------------------------------------------- tables


def tables(benchmark: Benchmark) -> Iterator[Table]:
    """A table for each part of the benchmark of which something is finished."""
    title = f"{benchmark.game.name}: {benchmark.agent.title}"
    done = [(match, benchmark.results[match]) for match in benchmark.matches if match in benchmark.results]
    if alone := [(match.player.name, result) for match, result in done if isinstance(result, SoloResult)]:
        yield solo_table(alone, title)
    if rows := [(m.player.name, m.opponent.name, r) for m, r in done if m.opponent and isinstance(r, MatchResult)]:
        yield match_table(rows, title)
    for file in benchmark.positions:
        if any(test.file == file for test in benchmark.errors):
            yield positions_table(benchmark, file)
    if benchmark.standings():
        yield tournament_table(benchmark.standings())
    if benchmark.points():
        yield curve_table(benchmark)


def positions_table(benchmark: Benchmark, file: str) -> Table:
    """Error rates by stage and difficulty; the first row says of how many positions."""
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
    """Everyone's rating, and the share of points against each of the others, who are numbered by their places."""
    places = [str(number) for number in range(1, len(standings) + 1)]
    table = make_table("round robin", ["", "player"], ["Elo", "95 %\ninterval", "points", *places])
    for place, (rating, points) in zip(places, standings, strict=True):
        against = [points.get(other.rating.player) for other in standings]
        table.add_row(
            place,
            rating.player,
            f"{rating.rating:+.0f}",
            f"{rating.low:+.0f} to {rating.high:+.0f}",
            f"{rating.points:.1%}",
            *("" if share is None else f"{share:.1%}" for share in against),
        )
    return table


def curve_table(benchmark: Benchmark) -> Table:
    """Points of each checkpoint, the agent's and its network's."""
    points = {(point.iteration, point.opponent, point.role): point.points for point in benchmark.points()}
    iterations = sorted({iteration for iteration, _, _ in points})
    table = make_table("points over the run, agent/network", ["against"], [f"{i}" for i in iterations])
    for opponent in dict.fromkeys(opponent for _, opponent, _ in points):
        pairs = [[points.get((i, opponent, role)) for role in ("agent", "network")] for i in iterations]
        cells = [
            "/".join("–" if p is None else f"{100 * p:.0f}" if opponent else f"{p:.3g}" for p in pair) for pair in pairs
        ]
        table.add_row(opponent or "nobody", *cells)
    return table


if __name__ == "__main__":
    code = main()
    if code == 130:  # threads may be deep in a search that nobody waits for any more
        sys.stdout.flush()
        os._exit(code)
    sys.exit(code)
