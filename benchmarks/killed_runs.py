"""A run that is killed and gone on with, and what must never come of that: for `benchmarks/kills.py`."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import psutil

from alphazero.config import Config
from alphazero.runs.files import LIGHT, WHOLE, digest

ROOT = Path(__file__).resolve().parents[1]
TRAIN = ROOT / "scripts" / "train.py"
PATIENCE = 600.0  # seconds for anything that must come, with much else to do
SAVING = 0.03  # seconds, about, that saving takes
BUSY = 20  # times, at most, that Ray may fail to start on a machine with much else to do

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
        """Waits for what the kill disturbs; False if the run came to its end before."""
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
