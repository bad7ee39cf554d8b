"""The files of a run: their names, how they are written whole or not at all, and how they are read back safely.

runs/<name>/
  config.toml                the resolved configuration
  checkpoints/<iteration>/   model.safetensors  optimizer.pt  replay.npz  streams.npz  state.json
  metrics.csv                the scalars, a row an iteration
  events.out.tfevents.*      the same scalars, and figures, for TensorBoard; in tensorboard/ if an older version began
  log.txt  ray.log           what was said, with the time; what the workers of a cluster said
  games/<iteration>.npz      a game of self-play from each stream
  policies.npz               policies of a few fixed positions, by iteration
  curves.png                 strength, losses and buffer over the run
  agent.onnx  agent.json     the agent that others can load
  benchmark.json  .png       what scripts/benchmark.py found
  report/                    what scripts/report.py wrote
  tracker.id                 the run's name at Weights & Biases or MLflow
  run.id                     tells the run from others, where it is mirrored
  run.lock                   the process that trains the run, which locks it; never copied
  run.holder                 the process that copies the run, where it is mirrored and only there
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from alphazero.game import loading

# By these a run's folder is known, and nothing is imported from there.
CONFIG, CHECKPOINTS, CARD = loading.CONFIG, loading.CHECKPOINTS, loading.CARD
IDENTITY, LOCK, HOLDER, METRICS, LOG, RAY_LOG = "run.id", "run.lock", "run.holder", "metrics.csv", "log.txt", "ray.log"
TRACKER_ID = "tracker.id"
POLICIES, AGENT, CURVES = "policies.npz", "agent.onnx", "curves.png"
BENCHMARK, BENCHMARK_CURVE = "benchmark.json", "benchmark.png"
GAMES, TENSORBOARD, REPORT = "games", "tensorboard", "report"
EVENTS = "events.out.tfevents."  # begins the names of TensorBoard's files
# The files of a checkpoint; state.json, which makes it whole, is the last.
WHOLE = ("model.safetensors", "optimizer.pt", "replay.npz", "streams.npz", "state.json")
LIGHT = ("model.safetensors", "state.json")

# Beside the checkpoints: files that are written over or grow, and the names in folders, of which "" is the run's own.
FILES = (IDENTITY, TRACKER_ID, CONFIG, METRICS, LOG, RAY_LOG, POLICIES, AGENT, CARD, CURVES, BENCHMARK, BENCHMARK_CURVE)
FOLDERS = {
    GAMES: r"[0-9]+\.npz",
    "": (events := rf"{re.escape(EVENTS)}[0-9]+(\.[\w.-]+)?\.[0-9]+\.[0-9]+"),  # time, host, process, number
    TENSORBOARD: events,
    REPORT: r"report\.md|[a-z]+(_[0-9]+)*\.png",
}


def is_run_file(name: str) -> bool:
    """Whether a run has a file of this name beside its checkpoints."""
    folder, _, rest = name.rpartition("/")
    return name in FILES or (folder in FOLDERS and re.fullmatch(FOLDERS[folder], rest) is not None)


def is_checkpoint_file(name: str) -> bool:
    """Whether a checkpoint has a file of this name."""
    match = re.fullmatch(rf"{CHECKPOINTS}/[0-9]+/([^/]+)", name)
    return match is not None and match[1] in WHOLE


def run_files(folder: Path) -> Iterator[str]:
    """The names of what a run has beside its checkpoints."""
    paths = [folder / name for name in FILES] + [path for name in FOLDERS for path in sorted((folder / name).glob("*"))]
    return (name for path in paths if path.is_file() and is_run_file(name := path.relative_to(folder).as_posix()))


def events_folder(folder: Path) -> Path:
    """The folder of TensorBoard's events: the run's own, whose name TensorBoard shows.

    A run that began with an older version has them in a folder within it, and goes on there.
    """
    return older if (older := folder / TENSORBOARD).is_dir() else folder


MOST_JSON = 1 << 24  # bytes


class RunError(Exception):
    """A run's folder or checkpoint that cannot be used; the message names it and the fix."""


def read_file(path: Path, most: int) -> bytes:
    """The content of a file of at most so many bytes. OSError if it cannot be read, ValueError if it is none."""
    size = path.stat().st_size
    if not path.is_file():
        raise ValueError(f"{path.name} is no file")
    if size > most:
        raise ValueError(f"{path.name} has {size:,} bytes, more than {most:,}")
    return path.read_bytes()


def read_json(path: Path) -> Any:
    """What a JSON file of a run says. OSError if it cannot be read, ValueError if it is something else."""
    content = read_file(path, MOST_JSON)

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no number")

    try:
        return json.loads(content, parse_constant=refuse)
    except RecursionError as error:
        raise ValueError(f"{path.name} is no JSON: too many brackets within one another") from error


def save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with atomic(path) as unfinished, unfinished.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def write_file(path: Path, content: bytes) -> None:
    with atomic(path) as unfinished:
        unfinished.write_bytes(content)


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """ValueError if it holds a number that JSON cannot write."""
    write_file(path, (json.dumps(record, indent=2, allow_nan=False) + "\n").encode())


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path, at which a file or folder is made; it then replaces `path`, or is removed after an error."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        remove(unfinished)
        yield unfinished
        if unfinished.is_file():  # the files in a folder are flushed already
            flush(unfinished)
        elif path.exists():
            shutil.rmtree(path)
        unfinished.replace(path)
    finally:
        remove(unfinished)


def flush(path: Path) -> None:
    """Forces to disk what was written to a file or renamed in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if sys.platform == "darwin":  # whose fsync leaves it in the disk's own memory
            import fcntl

            with suppress(OSError):  # not all disks of a network know it
                fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Removes a file, or a folder with all that is in it, if it is there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def clear_errors(folder: Path) -> Iterator[None]:
    """Turns the system's refusal to write into a RunError that says what to do."""
    try:
        yield
    except OSError as error:
        fix = "make it writable or choose another folder"
        if error.errno == errno.ENOSPC:
            fix = f"free some space; what was saved before is whole, continue it with --resume {folder}"
        raise RunError(f"cannot write {error.filename or folder}: {error.strerror or error}; {fix}") from error


@contextmanager
def reading(path: Path, fix: str) -> Iterator[None]:
    """Turns an error caused by a file of another form into a RunError that names file or checkpoint, and the fix."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise RunError(f"{path} does not fit this configuration or version: {error}; {fix}") from error


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Makes every OSError name the path; those of writing to a full disk name none by themselves."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
