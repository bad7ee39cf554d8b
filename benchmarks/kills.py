"""Kills training at random moments, goes on with it, and counts what must never be lost, altered, or done twice.

    benchmarks/kills.py [--count 200] [--ray] [--seed 0] [--iterations 30] [--out FOLDER]

A small run is killed with SIGKILL while it starts, plays, saves or ends. Each time two processes then try to go on with
it, and all but one must be refused. After ten kills it may come to its end, and is compared with a run that nobody has
disturbed; the next run follows. With --ray two workers play, and with the process die, or do not die, all others of its
group. The kinds of the moments follow from the seed; what they hit depends on the machine as well. --out gets
kills.json, and the folder of every run that is not as it should be. The exit code is 1 if a promise is broken.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from alphazero.shell import cli

# isort: split
import numpy as np
import psutil
from rich.console import Console

from alphazero.config import Config
from alphazero.runs.configuration import make_config, to_toml
from alphazero.runs.files import RunError, digest
from benchmarks.harness import empty_table, introduce, whole
from benchmarks.killed_runs import (
    FILES,
    KINDS,
    PATIENCE,
    REMAINS,
    ROWS,
    SAMPLES,
    WEIGHTS,
    HopelessError,
    KilledRun,
    Moment,
    Pace,
    Tally,
    Training,
    newest,
    remaining,
    until,
)

KILLS, OVER_RAY, EACH = 200, 20, 10  # kills by default, over Ray, and of each run
GOING = 60.0 + 30.0  # seconds in which all processes must have gone: some of Ray's look around once a minute

CONFIG = make_config(
    {
        "game": "games.tic_tac_toe:TicTacToe",
        "search": {"simulations": 8},
        "network": {"kind": "dense", "blocks": 2, "width": 64},
        "self_play": {"streams": 3, "parallel_games": 32, "moves": 6, "opening_moves": 2},
        "replay": {"start": 3_000, "window": 6_000},
        "learner": {"batch_size": 64},
        "evaluation": {"opponents": ["random"], "every": 5, "games": 20, "simulations": 8},
    },
    source="the run to kill",
)


# --- Comparing


def compare(folder: Path, undisturbed: Path, tally: Tally) -> None:
    """Adds to the tally how a run that is over differs from the undisturbed one."""
    mine, theirs = contents(folder), contents(undisturbed)
    for name in sorted(mine.keys() ^ theirs.keys()):
        tally.fault(FILES, f"{folder.name}: {name} is {'left over' if name in mine else 'missing'}")
    last = f"checkpoints/{newest(undisturbed):06d}"
    for name in sorted(mine.keys() & theirs.keys()):
        if mine[name] != theirs[name]:
            promise = WEIGHTS if name.endswith(".safetensors") else SAMPLES if name == f"{last}/replay.npz" else FILES
            tally.fault(promise, f"{folder.name}: {name} is not the same")
    if f"{last}/replay.npz" in mine and (difference := seen(folder / last) - seen(undisturbed / last)):
        tally.fault(SAMPLES, f"{folder.name}: {difference:+,} of {seen(undisturbed / last):,}")
    rows, wanted = (metrics(run / "metrics.csv") for run in (folder, undisturbed))
    if [row["iteration"] for row in rows] != [str(number) for number in range(len(wanted))]:
        tally.fault(ROWS, f"{folder.name}: iterations {', '.join(row['iteration'] for row in rows)}")
    elif different := [number for number, row in enumerate(rows) if row != wanted[number]]:
        tally.fault(ROWS, f"{folder.name}: other measures in iterations {different}")


def contents(folder: Path) -> dict[str, str]:
    """The run's files, by name: those that depend on nothing but the configuration with a digest, others without.

    Left out are files that each process adds for itself.
    """
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    same = re.compile(r"checkpoints/.*\.(safetensors|pt|npz)|games/.*|policies\.npz|agent\.onnx|run\.lock")
    return {
        name: digest(path) if same.fullmatch(name) else ""
        for name, path in paths.items()
        if not re.match(r"events\.out\.|ray\.log", name)
    }


def seen(checkpoint: Path) -> int:
    """All samples that ever came into the replay buffer."""
    with np.load(checkpoint / "replay.npz") as arrays:
        return int(arrays["seen"])


def metrics(path: Path) -> list[dict[str, str]]:
    """The rows of a metrics.csv, of what depends on nothing but the configuration."""
    with path.open(newline="") as file:
        same = re.compile(r"iteration|(buffer|loss|learner|strength|network)/.*|self_play/(games|draws|game_length)")
        return [{tag: cell for tag, cell in row.items() if same.fullmatch(tag)} for row in csv.DictReader(file)]


# --- The whole


def main() -> int:
    return cli.run(measure, stopped="Stopped; above is what there was until then.")


def measure() -> int:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--count", type=whole, help=f"kills ({KILLS}; over Ray {OVER_RAY})")
    parser.add_argument("--ray", action="store_true", help="two workers over a local Ray instead of threads")
    parser.add_argument("--seed", type=cli.seed, default=0, help="of the moments (0)")
    parser.add_argument("--iterations", type=cli.whole(5, 1000), default=30, help="of each run (30)")
    parser.add_argument("--out", type=Path, help="folder for kills.json, and the runs that are not as they should be")
    options = parser.parse_args()
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
    console, tally, began = cli.console(), Tally(), time.monotonic()
    machine = introduce(console)
    try:
        with tempfile.TemporaryDirectory(prefix="k-", ignore_cleanup_errors=True) as place:
            kill_and_compare(options, Path(place), tally, console)
    finally:
        show(console, tally)
        if options.out:
            figures = {"machine": machine, "ray": options.ray, "seed": options.seed, "iterations": options.iterations}
            counts: dict[str, Any] = {"kills": tally.kills, "runs": tally.runs, "starts": tally.starts}
            counts |= {"refused": tally.refused, "busy": tally.busy, "checkpoints": tally.checkpoints}
            counts |= {"broken": tally.broken, "faults": tally.faults}
            counts |= {"weights": tally.models.get(options.iterations)}
            found = figures | counts | {"seconds": round(time.monotonic() - began)}
            (options.out / "kills.json").write_text(json.dumps(found, indent=2) + "\n")
    return int(bool(tally.faults))


def kill_and_compare(options: argparse.Namespace, place: Path, tally: Tally, console: Console) -> None:
    """Kills one run after the other, as often as was asked for."""
    config = replace(CONFIG, iterations=options.iterations, workers=2 if options.ray else 0)
    (place / "config.toml").write_text(to_toml(config))
    draw, wanted = random.Random(options.seed), options.count or (OVER_RAY if options.ray else KILLS)
    started: list[psutil.Process] = []
    try:
        pace = undisturbed_run(place, config)
        console.print(
            f"Undisturbed: {pace.start:.1f} s to the first checkpoint, {config.iterations} iterations of "
            f"{pace.iteration:.2f} s, {pace.end:.1f} s after the last",
            soft_wrap=True,
        )
        while (left := wanted - tally.kills.total()) > 0:
            run, known = KilledRun(place, config, tally, pace, draw), len(tally.faults)
            tally.runs += 1
            try:
                run.suffer(moments(draw, min(left, EACH)))
                compare(run.folder, place / "undisturbed", tally)
            except HopelessError:
                pass
            finally:
                run.end()
                started += run.started
            console.print(f"Run {tally.runs}, {tally.kills.total()} of {wanted} kills", soft_wrap=True)
            for promise, what in tally.faults[known:]:
                console.print(f"  {promise}: {what}", soft_wrap=True)
            if options.out and len(tally.faults) > known:
                shutil.copytree(run.folder, options.out / run.folder.name, dirs_exist_ok=True)
                for output in place.glob("*.txt"):
                    shutil.copy(output, options.out / run.folder.name)
            shutil.rmtree(run.folder)
        look_for_remains(place, started, tally)
    finally:
        for process in remaining(place, started):
            with suppress(psutil.Error):
                process.kill()


def undisturbed_run(place: Path, config: Config) -> Pace:
    """Trains in the folder `undisturbed` without a disturbance. RunError if it does not come to its end."""
    folder, began, times = place / "undisturbed", time.monotonic(), dict[int, float]()
    training = Training(place, 0, place / "config.toml", "--run", folder)

    def over() -> bool:
        if number := newest(folder):
            times.setdefault(number, time.monotonic() - began)
        return training.process.poll() is not None

    try:
        until(over, PATIENCE)
    finally:
        if training.process.poll() is None:
            training.kill(group=True)
    if training.process.returncode or newest(folder) != config.iterations:
        raise RunError(f"the undisturbed run did not end as it should: {training.told.strip()[-500:]}")
    first, last = min(times), max(times)
    iteration = (times[last] - times[first]) / max(1, last - first)
    return Pace(times[first], iteration, time.monotonic() - began - times[last])


def moments(draw: random.Random, count: int) -> Iterator[Moment]:
    """When to kill a run so often: in all of its phases, and every fifth time at its end."""
    ends = math.ceil(count / 5)
    for number in range(count):
        kind = draw.choice(KINDS[:3]) if number < count - ends else "end"
        yield Moment(kind, draw.randint(0, 3), draw.random())


def look_for_remains(place: Path, started: list[psutil.Process], tally: Tally) -> None:
    """Adds to the tally which processes and temporary files are there when all runs are over."""
    until(lambda: not [*remaining(place, started)], GOING, pause=0.5)
    for process in remaining(place, started):
        with suppress(psutil.Error):
            tally.fault(REMAINS, f"process {process.pid}: {' '.join(process.cmdline())[:200]}")
    for path in sorted((place / "t").iterdir()):
        if not path.name.startswith("torchinductor_"):  # torch keeps what it compiles there
            tally.fault(REMAINS, f"{path.name} in the folder for temporary files")


def show(console: Console, tally: Tally) -> None:
    kills = ", ".join(f"{tally.kills[kind]} {kind}" for kind in KINDS)
    table = empty_table(console, f"{tally.kills.total()} kills ({kills})", ("", "found", "", "promised"))
    for promise, count in tally.broken.items():
        table.add_row(promise, f"{count:,}", "kept" if not count else "not kept", "0")
    console.print(table)
    console.print(
        f"{tally.runs} runs, {tally.starts} starts, of which {tally.refused} were refused since another process held "
        f"the run{f', and {tally.busy} found the machine too busy for Ray' if tally.busy else ''}; "
        f"{tally.checkpoints:,} checkpoints looked at",
        soft_wrap=True,
    )


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what runs below is in sessions of its own
    sys.exit(main())
