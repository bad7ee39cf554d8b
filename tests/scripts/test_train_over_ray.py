"""scripts/train.py over Ray, as a user starts, stops, kills and resumes it; every run has a Ray of its own."""

from __future__ import annotations

import os
import re
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pexpect
import psutil
import pytest
import safetensors.torch

from alphazero.parallel import ray_setup
from alphazero.runs.checkpoint import checkpoints, verify
from alphazero.runs.files import WHOLE
from tests.parallel.executor_tasks import PATIENCE, is_alive, wait_until
from tests.training_runs import ROOT, SMALL, Train, assert_same, run, start, wait_for_checkpoints, write

pytestmark = pytest.mark.cluster

CONFIG = replace(SMALL, evaluation=replace(SMALL.evaluation, every=0))
INTACT = "every iteration that was saved is intact: "


def private_folder(children: list[psutil.Process]) -> Path:
    """The folder around the files of a cluster of our own, by the command that started its raylet."""
    (raylet,) = (child for child in children if child.name() == "raylet")
    (folder,) = set(re.findall(r"/[^ =]*/az-[^/ ]+", " ".join(raylet.cmdline())))
    assert Path(folder).is_dir()
    return Path(folder)


def rays() -> list[psutil.Process]:
    """Ray's processes under this one."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            if is_alive(child) and "ray" in " ".join(child.cmdline()).lower():
                found.append(child)
    return found


def test_the_driver_killed_and_resumed_ends_as_if_nothing_had_been(tmp_path: Path, train: Train) -> None:
    config = replace(CONFIG, iterations=8)
    undisturbed, _ = run(config, tmp_path / "undisturbed")
    process = start(write(tmp_path, config), "--run", tmp_path / "run", "--workers", 2)
    wait_for_checkpoints(tmp_path / "run", 2)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) > 4  # workers, and Ray's daemons
    private = private_folder(children)
    process.kill()
    _, said = process.communicate()  # of those who look on as well
    assert f"ended from outside, or by Ray because a part of the cluster has died; {INTACT}" in said
    assert f"train.py --resume {tmp_path / 'run'}" in said
    assert not private.exists()
    wait_until(lambda: not any(map(is_alive, children)))  # who looked on is about to end
    resumed = train("--resume", tmp_path / "run")
    assert resumed.returncode == 0, resumed.stderr
    assert "2 workers of 1 CPU on this machine, synchronous" in resumed.stdout
    last = checkpoints(tmp_path / "run")[-1]
    assert last.name == "000008"
    assert_same(undisturbed, safetensors.torch.load_file(last / "model.safetensors"))
    assert not rays()


@pytest.mark.parametrize(("daemon", "name"), [("raylet", "raylet"), ("gcs_server", "GCS")])
def test_where_ray_dies_one_error_names_it_and_how_to_go_on(daemon: str, name: str, tmp_path: Path) -> None:
    config = replace(CONFIG, iterations=30)
    process = start(write(tmp_path, config), "--run", tmp_path / "run", "--workers", 2)
    wait_for_checkpoints(tmp_path / "run", 2)
    children = psutil.Process(process.pid).children(recursive=True)
    private = private_folder(children)
    (victim,) = (child for child in children if child.name() == daemon)
    victim.kill()
    shown, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    (error,) = (line for line in said.splitlines() if line.startswith("error: "))  # Ray may say a word as well
    assert "Traceback" not in said
    assert error.startswith((f"error: Ray's {name} died; {INTACT}", "error: this process was ended"))
    assert error.endswith(f"train.py --resume {tmp_path / 'run'}")
    assert "Lost worker" not in shown
    assert not private.exists()
    wait_until(lambda: not any(map(is_alive, children)))  # who looked on is about to end
    kept = checkpoints(tmp_path / "run")
    assert len(kept) >= 2
    for checkpoint in kept:
        verify(checkpoint, WHOLE)


def test_a_start_that_is_too_slow_is_one_error_and_leaves_nothing(
    tmp_path: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_there_yet(*_: object) -> None:
        raise RuntimeError("not there yet")

    hurried = SimpleNamespace(time=time.time, sleep=time.sleep, monotonic=lambda: 30 * time.monotonic())
    monkeypatch.setattr("ray._private.services.get_node", not_there_yet)
    monkeypatch.setattr("ray._private.node.time", hurried)
    finished = train("--run", tmp_path / "run", "--workers", 2, config=write(tmp_path, CONFIG))
    assert finished.returncode == 1
    (error,) = finished.stderr.strip().splitlines()
    assert error.startswith("error: Ray cannot be started here; is this machine too busy, or ")
    assert "Try again later, or leave --workers away (The current node timed out during startup" in error
    wait_until(lambda: not rays())  # one that Ray has just ended


def test_ctrl_c_saves_and_leaves_nothing_running(tmp_path: Path) -> None:
    arguments = ["scripts/train.py", str(write(tmp_path, replace(CONFIG, iterations=100_000))), "--workers", "2"]
    arguments += ["--run", str(tmp_path / "run"), "--cluster.mode", "asynchronous"]
    terminal = pexpect.spawn(sys.executable, arguments, cwd=str(ROOT), timeout=PATIENCE, dimensions=(40, 100))
    terminal.expect("iteration 2 ")
    children = psutil.Process(terminal.pid).children(recursive=True)
    assert len(children) > 4
    terminal.sendintr()  # to all processes of the terminal, as a person's would be
    terminal.expect("Stopping after this iteration")
    terminal.expect("everything saved")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0
    assert b"Traceback" not in (terminal.before or b"")
    assert len(checkpoints(tmp_path / "run")) >= 2
    wait_until(lambda: not any(map(is_alive, children)))


def test_a_faulty_game_is_reported_once_with_its_seed(
    tmp_path: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEALTHY_PROCESS", str(os.getpid()))
    config = replace(CONFIG, game="tests.parallel.faulty_games:FaultyWorkers")
    finished = train("--run", tmp_path / "run", "--workers", 2, config=write(tmp_path, config))
    assert finished.returncode == 1
    assert finished.stderr.count("ArithmeticError: the board is broken") == 1
    assert "error: segment 0 of self-play stream " in finished.stderr
    assert "(seed 1, " in finished.stderr
    assert "faulty_games.py" in finished.stderr


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        (["--workers", 1000], "1000 workers of 1 CPU each were asked for, and the cluster has"),
        (
            ["--learner-gpus", 64, "--learner.batch_size", 64],
            "64 ranks of the learner of 1 CPU and 1 GPU each were asked for, and the cluster has",
        ),
        (["--cluster.learner_ranks", 3], "learner.batch_size = 32 does not divide into 3 ranks"),
        (["--ray-address", "127.0.0.1:1"], "the Ray cluster at '127.0.0.1:1' cannot be joined"),
    ],
)
def test_missing_resources_are_reported(asked: list[object], complaint: str, tmp_path: Path, train: Train) -> None:
    finished = train("--run", tmp_path / "run", *asked, config=write(tmp_path, CONFIG))
    assert finished.returncode == 1
    assert complaint in finished.stderr
    assert "Traceback" not in finished.stderr


def test_ranks_learn_and_a_mirror_on_another_disk_is_resumed_from(
    tmp_path: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_setup, "available_cores", lambda: 3)
    url = f"file://{tmp_path / 'elsewhere' / 'run'}"
    config = write(tmp_path, replace(CONFIG, iterations=2))
    first = train(
        "--run", tmp_path / "run", "--cluster.learner_ranks", 2,
        "--cluster.mirror", url, config=config,
    )  # fmt: skip
    assert first.returncode == 0, first.stderr
    assert "1 worker of 1 CPU on this machine" in first.stdout  # what the ranks leave
    moved = train("--resume", url, "--run", tmp_path / "moved", "--iterations", 3)
    assert moved.returncode == 0, moved.stderr
    assert [path.name for path in checkpoints(tmp_path / "moved")] == ["000002", "000003"]
