"""The harness of the benchmarks: options, speeds measured in turns, processes side by side, reports and tables."""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from alphazero.shell import cli

# isort: split
import psutil
import torch
from rich import box
from rich.console import Console
from rich.table import Table

Work = Callable[[], int]  # does a piece of work and returns how many units it was


class Speed(NamedTuple):
    """rate: units a second. cores: CPU seconds a second. Both are medians over the rounds."""

    rate: float
    cores: float


@dataclass
class Report:
    """The measurements of a benchmark.

    machine: see `machine`. speeds, ratios: by section. promised: the least that a ratio should be.
    """

    machine: dict[str, Any]
    speeds: list[dict[str, Any]] = field(default_factory=list)
    ratios: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def speed(self, section: str, what: str, speed: Speed, unit: str) -> None:
        self.speeds.append({"section": section, "what": what, "unit": unit, **speed._asdict()})

    def ratio(self, section: str, what: str, ratio: float, *, promised: float | None = None) -> None:
        self.ratios.append({"section": section, "what": what, "ratio": ratio, "promised": promised})


# Options


@cli.option
def whole(text: str) -> int:
    """A whole number from 1, as an option's `type`."""
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


@cli.option
def seconds(text: str) -> float:
    """A number of seconds, as an option's `type`."""
    with contextlib.suppress(ValueError):
        if 0 <= float(text) < 3600:
            return float(text)
    raise ValueError(f"{text!r} is not a number of seconds")


@cli.option
def new_file(text: str) -> Path:
    """A file to write, as an option's `type`."""
    if not (folder := Path(text).resolve().parent).is_dir():
        raise ValueError(f"there is no folder {folder}")
    return Path(text)


def one_of(names: Sequence[str], what: str) -> Callable[[str], str]:
    """One of these names, as an option's `type`."""

    @cli.option
    def name(text: str) -> str:
        if text not in names:
            raise ValueError(f"there is no {what} {text!r}; choose from {', '.join(names)}")
        return text

    return name


Measure = Callable[[argparse.Namespace, Report], None]  # adds what it has measured to the report


def sections_parser(description: str, sections: Sequence[str]) -> cli.Parser:
    """The options of a benchmark in sections; see `run_sections`."""
    parser = cli.Parser(description=description)
    parser.add_argument(
        "sections", nargs="*", metavar="section", type=one_of(sections, "section"), default=list(sections),
        help=f"any of {', '.join(sections)}; default: all",
    )  # fmt: skip
    parser.add_argument("--json", type=new_file, metavar="FILE", help="write all measurements there")
    return parser


def run_sections(options: argparse.Namespace, measures: Mapping[str, Measure]) -> None:
    """Runs the sections that were asked for in the order of `measures`, and shows and writes their measurements."""
    console = cli.console()
    report = Report(introduce(console))
    for section, measure in measures.items():
        if section in options.sections:
            measure(options, report)
            show(console, report, section)
    if options.json:
        options.json.write_text(json.dumps(asdict(report), indent=2) + "\n")


def without_peers(error: ModuleNotFoundError) -> str:
    """Why a comparison is left out, and how to get the package."""
    return (
        f"left out, since {error.name} is missing; get it in a virtual environment of its own with "
        "`pip install -c constraints.txt -e '.[peers]'`"
    )


# Measuring


def in_turns(contenders: Mapping[str, Work], rounds: int, seconds: float) -> dict[str, Speed]:
    """Each contender's speed: all take turns, `rounds` times, `seconds` long, and the median round counts."""
    speeds: dict[str, list[Speed]] = {name: [] for name in contenders}
    for work in contenders.values():
        work()  # compiles
    for _ in range(rounds):
        for name, work in contenders.items():
            units, started, used = 0, time.perf_counter(), cpu_seconds()
            while units == 0 or time.perf_counter() - started < seconds:
                units += work()
            elapsed = time.perf_counter() - started
            speeds[name].append(Speed(units / elapsed, (cpu_seconds() - used) / elapsed))
    return {name: Speed(*map(statistics.median, zip(*found, strict=True))) for name, found in speeds.items()}


def scaled(speed: Speed, factor: float) -> Speed:
    return speed._replace(rate=speed.rate * factor)


def cpu_seconds() -> float:
    """CPU time of this process and of all its descendants."""
    total = time.process_time()
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += sum(child.cpu_times()[:2])  # user and system
    return total


def side_by_side(makers: Sequence[Callable[[], Callable[..., int]]]) -> Callable[..., int]:
    """Work of several processes at the same time, each of which makes its own, like workers on one machine.

    The returned work passes its arguments on to each of them.
    """
    context = multiprocessing.get_context("spawn")
    ends = []
    for make_work in makers:
        here, there = context.Pipe()
        context.Process(target=serve, args=(there, make_work), daemon=True).start()
        ends.append(here)

    def work(*arguments: Any) -> int:
        for end in ends:
            end.send(arguments)
        return sum(end.recv() for end in ends)

    return work


def serve(connection: Connection, make_work: Callable[[], Callable[..., int]]) -> None:
    """Runs in a process: does its work whenever the connection asks for it, until that is closed."""
    torch.set_num_threads(1)
    work = make_work()
    with contextlib.suppress(EOFError):
        while True:
            connection.send(work(*connection.recv()))


# Showing


def machine() -> dict[str, Any]:
    """The processor, its cores, and how busy it is."""
    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return {"processor": f"{name}, {os.cpu_count()} cores", "load": load, "torch": torch.__version__}


def introduce(console: Console) -> dict[str, Any]:
    """Prints which machine this is and how busy, and returns it."""
    here = machine()
    console.print(f"{here['processor']}, {here['load']:.1f} processes busy before we start", soft_wrap=True)
    return here


def show(console: Console, report: Report, section: str) -> None:
    """Prints the tables of a section, and its notes."""
    speeds = [speed for speed in report.speeds if speed["section"] == section]
    ratios = [ratio for ratio in report.ratios if ratio["section"] == section]
    if speeds:
        table = empty_table(console, section, ("", "a second", "", "cores used"))
        for speed in speeds:
            table.add_row(speed["what"], f"{speed['rate']:,.0f}", speed["unit"], f"{speed['cores']:.1f}")
        console.print(table)
    if ratios:
        table = empty_table(console, f"{section}: ratios", ("", "ratio", "promised", ""))
        for ratio in ratios:
            promised = ratio["promised"]
            wanted = "" if promised is None else f"at least {promised:g}"
            kept = "" if promised is None else "kept" if ratio["ratio"] >= promised else "not kept"
            table.add_row(ratio["what"], f"{ratio['ratio']:.2f}", wanted, kept)
        console.print(table)
    for note in report.notes:
        if note.startswith(section):
            console.print(note, soft_wrap=True)


def empty_table(console: Console, title: str, columns: Sequence[str]) -> Table:
    """A table with lines on a terminal, and without them when piped."""
    table = Table(title=title, title_justify="left", box=box.ROUNDED if console.is_terminal else None)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number in {1, 3} else "left", no_wrap=not console.is_terminal)
    return table
