"""A run over several machines, of which one is cut off and comes back, one is slow, and one has the wrong time.

They are cut off for eight seconds, longer than the health checks that this cluster has; for a minute, with Ray's own:

    SECONDS_CUT=60 .venv/bin/python -m pytest -n 0 tests/trainer/test_training_over_hosts.py

(As a script, this module is the run's driver.)
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import safetensors.torch

from alphazero.parallel.ray_executor import RayExecutor
from alphazero.runs.checkpoint import checkpoints
from alphazero.runs.configuration import load_config
from alphazero.runs.metrics import read_history
from alphazero.trainer.run import Run
from tests.parallel import hosts as machines
from tests.parallel.executor_tasks import wait_until
from tests.parallel.hosts import Host, hosts, late_clock
from tests.trainer.ray_runs import train
from tests.training_runs import ROOT, SMALL, assert_same, run, write

pytestmark = pytest.mark.cluster

NAME = "tests.trainer.test_training_over_hosts"
SECONDS_CUT = float(os.environ.get("SECONDS_CUT", "8"))
SECONDS = 300 + 2 * SECONDS_CUT  # for a run, on a machine that has other things to do
CHECKS = {"failure_threshold": 3, "initial_delay_ms": 1000, "period_ms": 500, "timeout_ms": 1500}  # six seconds
CONFIG = replace(SMALL, iterations=8, evaluation=replace(SMALL.evaluation, every=0, opponents=()))


def drive(config: str, folder: str, back: str) -> None:
    """Trains in a machine of the cluster. After half of the iterations it waits for the file, and for all workers."""

    def hold(run: Run) -> None:
        executor = run.executor
        assert isinstance(executor, RayExecutor)
        if run.progress.iteration == run.config.iterations // 2:
            wait_until(lambda: Path(back).exists() and len(executor.pids()) == executor.size, SECONDS)

    run, played = train(load_config(Path(config)), Path(folder), 3, hold=hold)
    print(json.dumps({"played": played, "seen": run.replay.seen}))


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[list[Host]]:
    if why := machines.obstacle():
        pytest.skip(why)
    checks = {f"RAY_health_check_{name}": str(value) for name, value in CHECKS.items()} if SECONDS_CUT < 60 else {}
    with hosts(checks, {}, {}, late_clock(tmp_path), logs=tmp_path) as found:
        yield found


@pytest.mark.parametrize("mode", ["synchronous", "asynchronous"])
def test_a_cut_a_slow_and_an_untimely_machine_change_nothing(
    mode: Literal["synchronous", "asynchronous"], cluster: list[Host], tmp_path: Path
) -> None:
    head, cut, slow, _ = cluster
    config = replace(CONFIG, workers=3, ray_address=f"{head.address}:{machines.PORT}")
    config = replace(config, cluster=replace(config.cluster, mode=mode))
    folder, back = tmp_path / "run", tmp_path / "back"
    own = os.environ | {"PYTHONPATH": str(ROOT)}  # entering a machine leaves the working directory
    driver = head.command(sys.executable, "-m", NAME, write(tmp_path, config), folder, back)
    with slow.slowed(), subprocess.Popen(driver, env=own, stdout=subprocess.PIPE, text=True) as process:
        try:
            wait_until(lambda: process.poll() or (folder.is_dir() and len(checkpoints(folder)) >= 2), SECONDS)
            cut.plug("down")
            time.sleep(SECONDS_CUT)
            cut.plug("up")
            back.touch()
            said, _ = process.communicate(timeout=SECONDS)
        finally:
            process.kill()
    assert process.returncode == 0
    if SECONDS_CUT < 60:
        assert "Lost worker" in (folder / "log.txt").read_text()
    result = json.loads(said.splitlines()[-1])
    of_stream: dict[int, list[int]] = {stream: [] for stream in range(3)}
    for (stream, segment), _ in result["played"]:
        of_stream[stream].append(segment)
    for segments in of_stream.values():  # each once, from the first on
        assert sorted(segments) == list(range(config.iterations if mode == "synchronous" else len(segments)))
    assert len(result["played"]) == 3 * config.iterations
    samples = sum(size for _, size in result["played"])
    if mode == "synchronous":
        undisturbed, _ = run(CONFIG, tmp_path / "undisturbed")
        assert_same(undisturbed, safetensors.torch.load_file(checkpoints(folder)[-1] / "model.safetensors"))
        assert result["seen"] == samples
    else:
        history = read_history(folder / "metrics.csv").values()
        left_out = sum(row["cluster/left_out_stale"] + row["cluster/left_out_behind"] for row in history)
        assert result["seen"] + left_out == samples


if __name__ == "__main__":
    drive(*sys.argv[1:])
