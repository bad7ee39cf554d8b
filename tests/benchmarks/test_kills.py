"""A few kills lose nothing, and whatever would be lost, altered or done twice is noticed."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from alphazero.runs.files import digest
from benchmarks import killed_runs, kills
from benchmarks.killed_runs import (
    CHECKPOINTS,
    ERRORS,
    FILES,
    PROMISES,
    ROWS,
    SAMPLES,
    TOGETHER,
    WEIGHTS,
    HopelessError,
    KilledRun,
    Pace,
    Tally,
    remaining,
)
from tests.commands import Command
from tests.parallel.executor_tasks import PATIENCE, wait_until
from tests.training_runs import ROOT, SMALL, Whole, run


def test_a_few_kills_lose_nothing(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (places := tmp_path / "places").mkdir()
    before = set(psutil.Process().children())  # of other tests
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(places))
        done = command(kills.main, "--count", 2, "--iterations", 6, "--out", tmp_path / "out")
    assert not list(places.iterdir())
    assert set(psutil.Process().children()) <= before
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads((tmp_path / "out" / "kills.json").read_text())
    assert sum(found["kills"].values()) == 2
    assert found["kills"]["end"] == 1
    assert found["broken"] == dict.fromkeys(PROMISES, 0)
    assert found["refused"] + 2 <= found["starts"]
    assert done.stdout.count(" kept ") == len(PROMISES)
    run(replace(kills.CONFIG, iterations=6), tmp_path / "run")
    assert found["weights"] == digest(tmp_path / "run" / "checkpoints" / "000006" / "model.safetensors")


def removed_row(folder: Path) -> None:
    lines = (folder / "metrics.csv").read_text().splitlines(keepends=True)
    (folder / "metrics.csv").write_text("".join(lines[:2] + lines[3:]))


def doubled_row(folder: Path) -> None:
    lines = (folder / "metrics.csv").read_text().splitlines(keepends=True)
    (folder / "metrics.csv").write_text("".join([*lines, lines[-1]]))


def more_samples(folder: Path) -> None:
    path = folder / "checkpoints" / "000004" / "replay.npz"
    arrays = dict(np.load(path))
    np.savez(path, **arrays | {"seen": arrays["seen"] + 7})


def other_weights(folder: Path) -> None:
    path = folder / "checkpoints" / "000002" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"?")


@pytest.mark.parametrize(
    ("alter", "promise", "words"),
    [
        (removed_row, ROWS, "iterations 0, 2, 3"),
        (doubled_row, ROWS, "iterations 0, 1, 2, 3, 3"),
        (more_samples, SAMPLES, r"\+7 of "),
        (other_weights, WEIGHTS, "checkpoints/000002/model.safetensors is not the same"),
        (lambda folder: (folder / ".curves.png.unfinished").touch(), FILES, ".curves.png.unfinished is left over"),
        (lambda folder: shutil.rmtree(folder / "checkpoints" / "000002"), FILES, "000002/state.json is missing"),
        (lambda folder: (folder / "games" / "000001.npz").write_bytes(b""), FILES, "games/000001.npz is not the same"),
    ],
)
def test_what_differs_from_an_undisturbed_run_is_told(
    alter: Callable[[Path], None], promise: str, words: str, whole: Whole, tmp_path: Path
) -> None:
    copy, tally = tmp_path / "run", Tally()
    shutil.copytree(whole.folder, copy)
    kills.compare(copy, whole.folder, tally)
    assert tally.faults == []
    alter(copy)
    kills.compare(copy, whole.folder, tally)
    assert [fault for fault in tally.faults if fault[0] == promise and re.search(words, fault[1])]
    assert {fault[0] for fault in tally.faults} == {promise}


def killed_run(place: Path) -> KilledRun:
    return KilledRun(place, SMALL, Tally(), Pace(1.0, 0.1, 0.1), random.Random(0))


@pytest.mark.parametrize(
    ("alter", "promise", "words"),
    [
        (lambda folder: shutil.rmtree(folder / "000004"), CHECKPOINTS, "4 is gone"),
        (lambda folder: (folder / "000003" / "streams.npz").unlink(), CHECKPOINTS, "3: streams.npz is missing"),
        (lambda folder: (folder / "000004" / "optimizer.pt").write_bytes(b""), CHECKPOINTS, "optimizer.pt was altered"),
    ],
)
def test_a_checkpoint_that_is_lost_or_altered_is_told(
    alter: Callable[[Path], None], promise: str, words: str, whole: Whole, tmp_path: Path
) -> None:
    killed = killed_run(tmp_path)
    shutil.copytree(whole.folder, killed.folder)
    killed.check()
    assert killed.tally.faults == []
    assert killed.tally.checkpoints == 3  # the last two, and that of the measured iteration
    alter(killed.folder / "checkpoints")
    killed.check()
    assert words in killed.tally.faults[0][1]
    assert {fault[0] for fault in killed.tally.faults} == {promise}


@pytest.mark.parametrize(
    ("script", "promise", "words"),
    [
        ("print('Training chess in runs/x', flush=True); time.sleep(60)", TOGETHER, "1.txt and 2.txt"),
        ("raise KeyError('x')", ERRORS, "ended with 1: KeyError: 'x'"),
        ("sys.exit('error: runs/x is held by process 1 on here, since noon')", ERRORS, "is held by process 1 "),
        ("os.kill(os.getpid(), 9)", ERRORS, "ended with -9"),
    ],
)
def test_processes_that_do_not_behave_are_told(
    script: str, promise: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program takes the place of training."""
    (tmp_path / "train.py").write_text(f"import os, sys, time\n{script}\n")
    monkeypatch.setattr(killed_runs, "TRAIN", tmp_path / "train.py")
    killed = killed_run(tmp_path)
    killed.start()
    try:
        with pytest.raises(HopelessError):
            killed.wait(lambda: False)
    finally:
        killed.end()
    assert any(fault[0] == promise and words in fault[1] for fault in killed.tally.faults)
    assert not list(remaining(tmp_path, killed.started))


def test_who_is_refused_and_who_goes_on_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second of two processes names the first, as the lock's error does."""
    (tmp_path / "train.py").write_text(
        "import os, sys, time\n"
        "try:\n"
        "    os.link(__file__, 'first')\n"
        "except FileExistsError:\n"
        "    while not (holder := open('holder').read()): time.sleep(0.01)\n"
        "    sys.exit(f'error: runs/x is held by process {holder} on here, since noon')\n"
        "with open('holder', 'w') as file: file.write(str(os.getpid()))\n"
        "print('Training chess in runs/x', flush=True)\n"
        "time.sleep(60)\n"
    )
    (tmp_path / "holder").touch()
    monkeypatch.setattr(killed_runs, "TRAIN", tmp_path / "train.py")
    monkeypatch.setattr(killed_runs, "ROOT", tmp_path)
    killed = killed_run(tmp_path)
    killed.start()
    try:
        assert killed.wait(lambda: len(killed.alive) == 1)
    finally:
        killed.end()
    assert (killed.tally.refused, killed.tally.faults) == (1, [])


def test_a_machine_that_is_too_busy_for_ray_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "train.py").write_text("import sys\nsys.exit('error: Ray cannot be started here; is it too busy?')\n")
    monkeypatch.setattr(killed_runs, "TRAIN", tmp_path / "train.py")
    monkeypatch.setattr(killed_runs, "BUSY", 3)
    killed = killed_run(tmp_path)
    killed.start()
    with pytest.raises(HopelessError):
        killed.wait(lambda: False)
    killed.end()
    assert killed.tally.busy == 3
    assert killed.tally.starts >= 4
    assert {fault[0] for fault in killed.tally.faults} == {ERRORS, TOGETHER}


def test_ended_it_shows_what_there_was_and_leaves_nothing(tmp_path: Path) -> None:
    """By SIGTERM, which it takes as it does Ctrl-C; soak.py, which is stopped in the same way, is tried by Ctrl-C."""
    command = [sys.executable, "benchmarks/kills.py", "--iterations", "1000", "--out", str(tmp_path / "out")]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            wait_until(lambda: any(tmp_path.glob("k-*/undisturbed/log.txt")))
            below = psutil.Process(process.pid).children(recursive=True)
            assert below
        finally:
            process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (130, "Stopped; above is what there was until then.\n")
    assert "0 kills" in out
    assert json.loads((tmp_path / "out" / "kills.json").read_text())["runs"] == 0
    assert not any(one.is_running() for one in below)
    assert not list(tmp_path.glob("k-*"))


@pytest.mark.parametrize("arguments", [["--count", "0"], ["--iterations", "x"], ["--seed", "-1"], ["--rays"]])
def test_wrong_arguments_are_one_line(arguments: list[str], command: Command) -> None:
    told = command(kills.main, *arguments)
    assert told.returncode == 2
    assert re.fullmatch(r"error: .*\n", told.stderr)
    assert arguments[0] in told.stderr
