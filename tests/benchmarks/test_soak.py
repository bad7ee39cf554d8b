"""What grows is told, by how much, and nothing else is; Ctrl-C keeps what was seen until then."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from alphazero.runs.files import RunError
from benchmarks import soak
from benchmarks.soak import Sample, findings, iteration_seconds, watch
from tests.commands import Command
from tests.parallel.executor_tasks import PATIENCE, wait_until
from tests.training_runs import ROOT

# A process that trains nothing. One that leaks keeps 2 MB, a file and a thread of each iteration, and gets slower.
TRAINING = """
import sys, threading, time
from pathlib import Path
folder, leaks, kept = Path(sys.argv[1]), sys.argv[2] == "leaks", []
folder.mkdir()
with (folder / "metrics.csv").open("w") as rows:
    print("iteration,time/iteration", file=rows, flush=True)
    for iteration in range(60):
        seconds = 0.04 + 0.002 * iteration * leaks
        time.sleep(seconds)
        if leaks:
            kept.append(bytearray(b"x") * 2**21)
            kept.append(open("/dev/null"))
            threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
        print(f"{iteration},{seconds}", file=rows, flush=True)
"""


def looked_at(folder: Path, word: str) -> tuple[list[Sample], dict[str, soak.Finding]]:
    samples = list(watch([sys.executable, "-c", TRAINING, folder, word], folder, 0.05))
    return samples, {one.what: one for one in findings(samples, iteration_seconds(folder))}


def test_what_a_process_leaks_on_purpose_is_told(tmp_path: Path) -> None:
    samples, found = looked_at(tmp_path / "run", "leaks")
    assert {what for what, one in found.items() if one.kept} == {"the run's folder, MB"}
    assert found["threads"].last > 1.5 * found["threads"].second
    assert found["ms an iteration"].growth == pytest.approx((0.04 + 0.002 * 52) / (0.04 + 0.002 * 22) - 1, abs=1e-6)
    one, other = (next(sample for sample in samples if sample.iterations >= count) for count in (5, 50))
    more = other.iterations - one.iterations
    assert other.resident_mb - one.resident_mb == pytest.approx(2 * more, rel=0.1)
    assert other.descriptors - one.descriptors == pytest.approx(more, abs=2)
    assert other.threads - one.threads == pytest.approx(more, abs=2)


def test_a_steady_process_is_flat(tmp_path: Path) -> None:
    samples, found = looked_at(tmp_path / "run", "steady")
    flat = ["resident memory, MB", "open descriptors", "threads", "ms an iteration"]
    assert [found[what].kept for what in flat] == [True] * 4
    assert (found["threads"].second, found["threads"].last) == (1, 1)
    assert samples[-1].iterations <= 60
    assert 1000 * 0.035 < found[soak.ALL].second < 1000


def test_all_processes_count(tmp_path: Path) -> None:
    parent = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[3], *sys.argv[1:3]])"
    command = [sys.executable, "-c", parent, tmp_path / "run", "leaks", TRAINING]
    samples = list(watch(command, tmp_path / "run", 0.1))
    assert max(sample.threads for sample in samples) == pytest.approx(62, abs=4)
    assert max(sample.resident_mb for sample in samples) > 120


def test_all_files_count_and_folders_that_go_meanwhile_are_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a/b", "gone/c", "d"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(bytes(2**20))
    scandir = os.scandir

    def late(path: str) -> object:
        if str(path).endswith("gone"):
            shutil.rmtree(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", late)
    assert soak.look(os.getpid(), tmp_path, 0.0).folder_mb == 2


def test_training_that_fails_is_an_error_with_its_words(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="ended with exit code 1: no room"):
        list(watch([sys.executable, "-c", "import sys; sys.exit('no room')"], tmp_path / "run", 0.1))


def test_ctrl_c_shows_what_there_was_and_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "benchmarks/soak.py", "--every", "0.2", "--out", str(tmp_path / "out")]
    environment = os.environ | {"TMPDIR": str(tmp_path)}

    def rows() -> int:
        return sum(path.read_bytes().count(b"\n") for path in tmp_path.glob("soak-*/run/metrics.csv"))

    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            wait_until(lambda: rows() > 12)
            below = psutil.Process(process.pid).children(recursive=True)
            assert below
        finally:
            process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (130, "Stopped; above is what there was until then.\n")
    found = json.loads((tmp_path / "out" / "soak.json").read_text())
    with (tmp_path / "out" / "metrics.csv").open(newline="") as file:
        recorded = [float(row["memory/resident_mb"]) for row in csv.DictReader(file)]
    assert found["samples"][-1]["iterations"] == pytest.approx(len(recorded), abs=10)
    # The run notes its own memory.
    assert found["samples"][-1]["resident_mb"] == pytest.approx(recorded[-1], rel=0.1)
    for one in found["found"]:
        assert one["growth"] == pytest.approx(one["last"] / one["second"] - 1)
        assert one["what"] in out
    assert (tmp_path / "out" / "soak.png").read_bytes().startswith(b"\x89PNG")
    assert not any(one.is_running() for one in below)
    assert not list(tmp_path.glob("soak-*"))


@pytest.mark.parametrize("arguments", [["--minutes", "0"], ["--every", "nan"], ["--workers", "x"], ["--hours", "1"]])
def test_wrong_arguments_are_one_line(arguments: list[str], command: Command) -> None:
    told = command(soak.main, *arguments)
    assert told.returncode == 2
    assert re.fullmatch(r"error: .*\n", told.stderr)
    assert arguments[0] in told.stderr
