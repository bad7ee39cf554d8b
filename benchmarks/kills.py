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
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from alphazero.shell import cli

# isort: split
import numpy as np
import psutil
from rich.console import Console

from alphazero.config import Config
from alphazero.runs.configuration import make_config, to_toml
from alphazero.runs.files import LIGHT, WHOLE, RunError, digest
from benchmarks.harness import empty_table, introduce, whole

ROOT = Path(__file__).resolve().parents[1]
TRAIN = ROOT / "scripts" / "train.py"
KILLS, OVER_RAY, EACH = 200, 20, 10  # kills by default, over Ray, and of each run
PATIENCE = 600.0  # seconds for anything that must come, with much else to do
GOING = 60.0 + 30.0  # seconds in which all processes must have gone: some of Ray's look around once a minute
SAVING = 0.03  # seconds, about, that saving takes
BUSY = 20  # times, at most, that Ray may fail to start on a machine with much else to do

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

CHECKPOINTS, SAMPLES, ROWS, WEIGHTS, FILES, TOGETHER, ERRORS, REMAINS = PROMISES = (
    "checkpoints lost or altered",
    "samples lost or twice",
    "iterations lost, twice or altered in metrics.csv",
    "weights that are not the same bit for bit",
    "files of runs missing, left over or altered",
    "times that two went on together, or none",
    "ends without the error that there should be",
    "processes and files left behind",
)  # fmt: skip
KINDS = ("start-up", "self-play", "saving", "end")


class Moment(NamedTuple):
    """When to kill. checkpoints: that come first. share: of the time that what is done then takes, in [0, 1)."""

    kind: str
    checkpoints: int
    share: float


class Pace(NamedTuple):
    """Seconds that an undisturbed run takes to its first checkpoint, for an iteration, and after its last."""

    start: float
    iteration: float
    end: float

    def seconds(self, moment: Moment) -> float:
        return moment.share * dict(zip(KINDS, (self.start, self.iteration, SAVING, self.end), strict=True))[moment.kind]


@dataclass
class Tally:
    """What has happened.

    busy:   starts for which the machine had too much else to do.
    faults: each with the promise that it breaks.
    models: digests of networks, by iteration, over all runs.
    """

    kills: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    starts: int = 0
    refused: int = 0
    busy: int = 0
    checkpoints: int = 0
    faults: list[tuple[str, str]] = field(default_factory=list)
    models: dict[int, str] = field(default_factory=dict)

    def fault(self, promise: str, what: str) -> None:
        self.faults.append((promise, what))

    @property
    def broken(self) -> dict[str, int]:
        counts = Counter(promise for promise, _ in self.faults)
        return {promise: counts[promise] for promise in PROMISES}


class HopelessError(Exception):
    """A run that cannot be gone on with; the tally says why."""


# --- Processes


class Training:
    """A process that trains, or wants to, in a session of its own. `told`: all that it has said."""

    def __init__(self, place: Path, number: int, *arguments: object) -> None:
        self.output, self.begins = place / f"{number}.txt", "--run" in arguments
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(TRAIN), *map(str, arguments)],
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
                cwd=ROOT, env=environment(place),
            )  # fmt: skip
        self.pid = self.process.pid

    @property
    def told(self) -> str:
        return self.output.read_text(errors="replace")

    @property
    def goes_on(self) -> bool:
        """Whether it holds the run: it has said that it begins, and not yet that it is over."""
        return bool(re.search(r"^(Training|Continuing) .* in ", told := self.told, re.M)) and "The agent:" not in told

    def refused_by(self, others: set[int]) -> bool:
        """Whether it has ended with the error that another process holds the run, one of these."""
        told = self.told
        holder = re.search(r"^error: .* is held by process (\d+) on ", told, re.M)
        held = int(holder[1]) in others - {self.pid} if holder else self.begins and "exists already" in told
        return held and self.process.returncode == 1 and "Traceback" not in told

    @property
    def too_busy(self) -> bool:
        """Whether it has ended with the error that the machine is too busy for Ray to start."""
        told = self.told
        return self.process.returncode == 1 and "error: Ray cannot be started here" in told and "Traceback" not in told

    def kill(self, *, group: bool) -> list[psutil.Process]:
        """Kills it, with all processes of its group or alone; returns those that it has started."""
        started: list[psutil.Process] = []
        with suppress(psutil.NoSuchProcess):
            started = psutil.Process(self.pid).children(recursive=True)
        (os.killpg if group else os.kill)(self.pid, signal.SIGKILL)
        self.process.wait()
        return started


def environment(place: Path) -> dict[str, str]:
    """The environment of processes that leave their temporary files in a folder of their own."""
    (place / "t").mkdir(exist_ok=True)  # a short name: Ray's sockets have room for a hundred characters
    kept = {name: text for name, text in os.environ.items() if name != "RAY_TMPDIR"}
    return kept | {"TMPDIR": str(place / "t"), "PYTHONUNBUFFERED": "1"}


def remaining(place: Path, started: list[psutil.Process]) -> Iterator[psutil.Process]:
    """Processes of ours that still run: of those that were started, and by their environment."""
    for one in {*started, *psutil.process_iter()}:
        with suppress(psutil.Error):
            ours = one in started or one.environ().get("TMPDIR") == str(place / "t")
            if ours and one.is_running() and one.status() != psutil.STATUS_ZOMBIE:
                yield one


def until(condition: Callable[[], bool], patience: float, pause: float = 0.02) -> bool:
    """Whether it has come true within so many seconds."""
    deadline = time.monotonic() + patience
    while not (true := condition()) and time.monotonic() < deadline:
        time.sleep(pause)
    return true


# --- A run that is killed


def names(folder: Path) -> list[str]:
    """What is in the run's folder of checkpoints."""
    with suppress(FileNotFoundError):
        return os.listdir(folder / "checkpoints")
    return []


def newest(folder: Path) -> int:
    """The iteration of the newest checkpoint; 0: there is none."""
    return max((int(name) for name in names(folder) if name.isdecimal()), default=0)


class KilledRun:
    """A run in a folder of the place; `alive` are the processes that train it, or want to."""

    def __init__(self, place: Path, config: Config, tally: Tally, pace: Pace, draw: random.Random) -> None:
        self.place, self.config, self.tally, self.pace, self.draw = place, config, tally, pace, draw
        self.folder = place / f"run-{tally.runs}"
        self.alive: list[Training] = []
        self.pids: set[int] = set()
        self.started: list[psutil.Process] = []
        self.newest = 0  # that was ever seen
        self.ended = False  # by itself

    def start(self) -> None:
        """Starts as many processes as there must be for two to try."""
        self.settle()
        begin = not (newest(self.folder) or self.alive)
        if begin:  # there is nothing to go on from
            shutil.rmtree(self.folder, ignore_errors=True)
        ways = (self.place / "config.toml", "--run", self.folder) if begin else ("--resume", self.folder)
        while len(self.alive) < 2:
            self.tally.starts += 1
            self.alive.append(Training(self.place, self.tally.starts, *ways))
            self.pids.add(self.alive[-1].pid)

    def suffer(self, moments: Iterator[Moment]) -> None:
        """Is killed and gone on with at each of the moments, and then comes to its end."""
        for moment in moments:
            self.start()
            self.strike(moment)
            if self.ended:
                break
        else:
            self.start()
        self.wait(lambda: False)
        self.check()

    def strike(self, moment: Moment) -> None:
        """Waits for the moment, and kills, if the run does not come to its end before."""
        if moment.kind == "start-up":
            begun = time.monotonic()
            came = self.wait(lambda: time.monotonic() - begun >= self.pace.seconds(moment))
        else:
            came = self.wait(lambda: len(self.alive) == 1) and self.reach(moment)
        if not came:
            return
        time.sleep(0 if moment.kind == "start-up" else self.pace.seconds(moment))
        # Of those that start one may go on. Without a checkpoint neither: both would have to begin anew.
        victims = [self.draw.choice(self.alive)] if newest(self.folder) else [*self.alive]
        for victim in victims:
            group = self.draw.random() < 0.5
            if victim.process.poll() is None:
                self.started += victim.kill(group=group)
                self.alive.remove(victim)
                self.tally.kills[moment.kind] += victim is victims[0]
        self.settle()
        self.check()

    def reach(self, moment: Moment) -> bool:
        """Waits for what is to be disturbed; False if the run came to its end before."""
        last = self.config.iterations
        if moment.kind == "end":
            return self.wait(lambda: newest(self.folder) == last)
        wanted = newest(self.folder) + moment.checkpoints
        if not self.wait(lambda: newest(self.folder) >= min(wanted, last)):
            return False
        return moment.kind != "saving" or self.wait(
            lambda: any("unfinished" in name for name in names(self.folder)) or newest(self.folder) == last,
            pause=0.002,
        )

    def wait(self, condition: Callable[[], bool], pause: float = 0.02) -> bool:
        """Waits for the condition; False if all processes have ended before."""

        def over() -> bool:
            busy = self.tally.busy
            self.settle()
            if self.tally.busy > busy:
                self.start()
            self.newest = max(self.newest, newest(self.folder))
            return condition() or not self.alive

        if not until(over, PATIENCE, pause):
            self.tally.fault(ERRORS, f"nothing new within {PATIENCE:g} s; {self.last_words()}")
            raise HopelessError
        if not (self.alive or self.ended):
            self.tally.fault(TOGETHER, f"no process went on; {self.last_words()}")
            raise HopelessError
        return bool(self.alive)

    def settle(self) -> None:
        """Looks at the processes that have ended by themselves, and whether two go on."""
        for training in [one for one in self.alive if one.process.poll() is not None]:
            self.alive.remove(training)
            if training.process.returncode == 0:
                self.ended = True
            elif training.refused_by(self.pids):
                self.tally.refused += 1
            elif training.too_busy and self.tally.busy < BUSY:
                self.tally.busy += 1
            else:
                last = training.told.strip().rpartition("\n")[2]
                self.tally.fault(ERRORS, f"{training.output.name} ended with {training.process.returncode}: {last}")
            if "trying the checkpoint before it" in training.told:
                self.tally.fault(CHECKPOINTS, f"{training.output.name} passed over one")

        def together() -> bool:
            return sum(one.process.poll() is None and one.goes_on for one in self.alive) > 1

        if len(self.alive) > 1 and together() and not until(lambda: not together(), 2.0):  # not while one is leaving
            self.tally.fault(TOGETHER, " and ".join(one.output.name for one in self.alive))
            raise HopelessError

    def check(self) -> None:
        """Looks at the checkpoints, when nobody changes them."""
        if self.alive:
            return
        there = sorted(int(name) for name in names(self.folder) if name.isdecimal())
        if self.newest > max(there, default=0):
            self.tally.fault(CHECKPOINTS, f"{self.folder.name}: {self.newest} is gone")
        self.newest = max(there, default=0)
        for number in there:
            path = self.folder / "checkpoints" / f"{number:06d}"
            measured = number % self.config.evaluation.every == 0
            needed = WHOLE if number in there[-2:] else LIGHT if measured else ()  # others are being removed
            self.tally.checkpoints += bool(needed)
            for name in needed:
                if fault := fault_of(path, name):
                    self.tally.fault(CHECKPOINTS, f"{self.folder.name}: {number}: {fault}")
            model = digest(path / "model.safetensors") if needed and (path / "model.safetensors").exists() else ""
            if model and self.tally.models.setdefault(number, model) != model:
                self.tally.fault(WEIGHTS, f"{self.folder.name}: at iteration {number}")

    def end(self) -> None:
        """Kills whatever is still alive."""
        for process in self.alive:
            if process.process.poll() is None:
                self.started += process.kill(group=True)
        self.alive.clear()

    def last_words(self) -> str:
        """The last lines of the processes, for people."""
        outputs = sorted(self.place.glob("*.txt"), key=lambda path: path.stat().st_mtime)[-2:]
        return "; ".join(f"{path.name}: {path.read_text().strip().rpartition(chr(10))[2]}" for path in outputs)


def fault_of(path: Path, name: str) -> str:
    """What is wrong with the file of a checkpoint; empty: nothing."""
    if not (path / name).is_file():
        return f"{name} is missing"
    digests = json.loads((path / "state.json").read_bytes())["sha256"]
    return f"{name} was altered" if name != "state.json" and digest(path / name) != digests[name] else ""


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
            counts |= {
                "refused": tally.refused,
                "busy": tally.busy,
                "checkpoints": tally.checkpoints,
                "broken": tally.broken,
            }
            counts |= {"faults": tally.faults, "weights": tally.models.get(options.iterations)}
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
