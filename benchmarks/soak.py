"""Trains a small run for an hour, and looks whether it grows: its memory, descriptors, threads, time an iteration.

    benchmarks/soak.py [--minutes 60] [--every 5] [--workers 0] [--out FOLDER]

The run plans as many iterations as fill the time, and measures its agent and keeps games now and then as every run
does. All processes count, with Ray's if there are workers. The last quarter of the time is compared with the second:
none of these may be more than 5 % higher, in the median. The run's folder grows, by a row of measures an iteration, and
so is shown without a promise. On a machine with other work iterations take longer meanwhile. --out gets soak.json,
soak.png and the run's metrics.csv. The exit code is 1 if a promise is broken.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from alphazero.shell import cli

# isort: split
import psutil
from rich.console import Console

from alphazero.report.colours import BLUE, INK
from alphazero.runs.configuration import make_config, to_toml
from alphazero.runs.files import RunError
from benchmarks.harness import empty_table, introduce

T = TypeVar("T")

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[1]
PROMISED = 0.05  # by which nothing may grow, as a part of what it was
ENDING = 60.0  # seconds that a run has to end in after Ctrl-C

CONFIG = make_config(
    {
        "game": "games.tic_tac_toe:TicTacToe",
        "search": {"simulations": 16},
        "network": {"kind": "dense", "blocks": 2, "width": 64},
        "self_play": {"streams": 2, "parallel_games": 64, "moves": 8, "opening_moves": 2},
        "replay": {"start": 20_000, "window": 20_000},  # which is full long before the second quarter
        "learner": {"batch_size": 128},
    },
    source="the run to watch",
)

MEASURES = (  # of a sample, each with its field and whether it must not grow
    ("resident memory, MB", "resident_mb", True),
    ("open descriptors", "descriptors", True),
    ("threads", "threads", True),
    ("the run's folder, MB", "folder_mb", False),
)

ALL = "ms an iteration, with all that is between two"


class Sample(NamedTuple):
    """A look at the run, over all of its processes.

    seconds:     since the start.
    resident_mb: memory; what several processes share counts for each.
    iterations:  rows of metrics.csv.
    folder_mb:   size of all files of the run.
    """

    seconds: float
    resident_mb: float
    descriptors: int
    threads: int
    iterations: int
    folder_mb: float


class Finding(NamedTuple):
    """A measure in the second quarter and in the last. promised: whether it must not grow."""

    what: str
    second: float
    last: float
    promised: bool = True

    @property
    def growth(self) -> float:
        return self.last / self.second - 1

    @property
    def kept(self) -> bool:
        return not self.promised or self.growth <= PROMISED


def main() -> int:
    return cli.run(measure, stopped="Stopped; above is what there was until then.")


def measure() -> int:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--minutes", type=cli.real(0.1, 100_000), default=60.0, help="how long (60)")
    parser.add_argument("--every", type=cli.real(0.05, 3600), default=5.0, help="seconds between two looks (5)")
    parser.add_argument("--workers", type=cli.whole(0, 10_000), default=0, help="over Ray; 0: threads alone (0)")
    parser.add_argument("--out", type=Path, help="folder for soak.json, soak.png and metrics.csv")
    options = parser.parse_args()
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
    console, samples = cli.console(), list[Sample]()
    machine = introduce(console)
    with tempfile.TemporaryDirectory(prefix="soak-") as place:
        folder, config = Path(place) / "run", Path(place) / "soak.toml"
        config.write_text(to_toml(CONFIG))
        command = [sys.executable, ROOT / "scripts" / "train.py", config, "--run", folder]
        command += ["--minutes", options.minutes, "--workers", options.workers]
        try:
            with closing(watch(command, folder, options.every)) as looks:
                for sample in looks:  # one by one: after Ctrl-C those until then are there
                    samples.append(sample)
        finally:
            found = findings(samples, iteration_seconds(folder))
            show(console, samples, found)
            if options.out:
                figures = {"machine": machine, "minutes": options.minutes, "workers": options.workers}
                figures["found"] = [one._asdict() | {"growth": one.growth, "kept": one.kept} for one in found]
                figures["samples"] = [sample._asdict() for sample in samples]
                write(figures, samples, folder, options.out)
    return int(not found or not all(one.kept for one in found))


# --- Looking


def watch(command: Sequence[object], folder: Path, every: float) -> Generator[Sample]:
    """Runs a command that trains in the folder, and looks at it once in so many seconds. RunError if it fails.

    Closed before its end, it ends the command in order.
    """
    with tempfile.TemporaryFile("w+") as told:
        process = subprocess.Popen(
            [*map(str, command)], stdin=subprocess.DEVNULL, stdout=told, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        began = looked = time.monotonic()
        try:
            while process.poll() is None:
                with suppress(psutil.Error):  # it has just ended
                    yield look(process.pid, folder, looked - began)
                looked = max(looked + every, time.monotonic())
                with suppress(subprocess.TimeoutExpired):
                    process.wait(looked - time.monotonic())
        finally:
            if process.poll() is None:
                process.terminate()
            try:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(ENDING)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        if process.returncode:
            told.seek(0)
            raise RunError(f"training ended with exit code {process.returncode}: {told.read().strip()[-500:]}")


def look(pid: int, folder: Path, seconds: float) -> Sample:
    """A look at the process of this number and all below it. psutil.Error if it has ended."""
    first = psutil.Process(pid)
    resident, descriptors, threads = first.memory_info().rss, first.num_fds(), first.num_threads()
    for one in first.children(recursive=True):
        with suppress(psutil.Error), one.oneshot():
            more = one.memory_info().rss, one.num_fds(), one.num_threads()
            resident, descriptors, threads = resident + more[0], descriptors + more[1], threads + more[2]
    iterations = size = 0
    with suppress(FileNotFoundError):
        iterations = max(0, (folder / "metrics.csv").read_bytes().count(b"\n") - 1)
    for top, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # files come and go, and so do folders, of which `walk` says nothing
                size += os.stat(f"{top}/{name}").st_size
    return Sample(seconds, resident / 2**20, descriptors, threads, iterations, size / 2**20)


def iteration_seconds(folder: Path) -> list[float]:
    """The time of each iteration, as the run itself has measured it: without saving."""
    try:
        with (folder / "metrics.csv").open(newline="") as file:
            return [float(row["time/iteration"] or 0) for row in csv.DictReader(file)]
    except FileNotFoundError:
        return []


# --- Comparing


def findings(samples: Sequence[Sample], seconds: Sequence[float]) -> list[Finding]:
    """The second quarter of the iterations' time and the last, each by its medians; nothing if there are too few looks.

    seconds: of each iteration.
    """
    last = max((sample.iterations for sample in samples), default=0)
    training = [sample for sample in samples if 0 < sample.iterations < last]  # neither start nor end
    if len(training) < 8 or len(seconds) < 8:
        return []
    two, four = quarters(training)
    found = []
    for what, name, promised in MEASURES:
        before, after = (statistics.median(getattr(sample, name) for sample in part) for part in (two, four))
        found.append(Finding(what, before, after, promised))
    before, after = (1000 * statistics.median(part) for part in quarters(seconds))
    found.append(Finding("ms an iteration", before, after))
    before, after = (
        1000 * (part[-1].seconds - part[0].seconds) / max(1, part[-1].iterations - part[0].iterations)
        for part in (two, four)
    )
    return [*found, Finding(ALL, before, after)]


def quarters(values: Sequence[T]) -> tuple[Sequence[T], Sequence[T]]:
    """The second quarter and the last."""
    quarter = len(values) // 4
    return values[quarter : 2 * quarter], values[-quarter:]


def show(console: Console, samples: Sequence[Sample], found: Sequence[Finding]) -> None:
    minutes, iterations = (samples[-1].seconds / 60, samples[-1].iterations) if samples else (0.0, 0)
    if not found:
        console.print(f"{minutes:.1f} minutes, {iterations:,} iterations: too few to compare")
        return
    title = f"{minutes:.1f} minutes, {iterations:,} iterations"
    table = empty_table(console, title, ("", "second quarter", "last", "growth", f"at most {PROMISED:.0%}"))
    for one in found:
        kept = "" if not one.promised else "kept" if one.kept else "not kept"
        table.add_row(one.what, f"{one.second:,.1f}", f"{one.last:,.1f}", f"{one.growth:+.1%}", kept)
    console.print(table)


def write(figures: Mapping[str, object], samples: Sequence[Sample], folder: Path, out: Path) -> None:
    from alphazero.report.position_figures import png  # matplotlib takes its time to load

    (out / "soak.json").write_text(json.dumps(figures, indent=2) + "\n")
    (out / "soak.png").write_bytes(png(curves(samples)))
    with suppress(FileNotFoundError):
        shutil.copy(folder / "metrics.csv", out)


def curves(samples: Sequence[Sample]) -> Figure:
    """Every measure over the minutes, and the time an iteration from one look to the next."""
    from alphazero.report.position_figures import in_rows, new_figure, plain_axes

    minutes = [sample.seconds / 60 for sample in samples]
    panels = {what: (minutes, [getattr(sample, name) for sample in samples]) for what, name, _ in MEASURES}
    steps = [(a, b) for a, b in pairwise(samples) if b.iterations > a.iterations]
    panels[ALL] = (
        [b.seconds / 60 for _, b in steps],
        [1000 * (b.seconds - a.seconds) / (b.iterations - a.iterations) for a, b in steps],
    )
    figure = new_figure(10, 8)
    for what, axes in figure.subplot_mosaic(in_rows(panels, 2)).items():
        axes.plot(*panels[what], color=BLUE, lw=1.2)
        axes.set_title(what, color=INK, fontsize=10, loc="left")
        axes.set_ylim(0)
        plain_axes(axes, "y")
    figure.supxlabel("minutes", color=INK, fontsize=9)
    return figure


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what runs below is in a session of its own
    sys.exit(main())
