"""Runs, agents and configurations that earlier versions wrote are read for ever: tests/data/earlier keeps one of each.

Whoever changes what is written adds a folder there, and changes none that is there.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import shutil
import tomllib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import scripts.benchmark
import scripts.play
import scripts.report
from alphazero.game.record import Record
from alphazero.runs.agents import load_agent
from alphazero.runs.configuration import OLD_NAMES, load_config
from games.tic_tac_toe import TicTacToe
from tests.commands import Command
from tests.tensorboard_events import scalars
from tests.training_runs import Train

EARLIER = Path(__file__).parent / "data" / "earlier"
ITERATIONS = {"0.1.0": 2, "2026-11-26": 3}
# After b2 and a3: the logits of the nine actions, and the value, as ONNX Runtime by itself reads them off the file.
ANSWERS = {
    "0.1.0": (
        [-0.041903, -0.165487, 0.118043, 0.157859, 0.042677, 0.386229, -0.00751, -0.056822, 0.255824],
        0.027873,
    ),
    "2026-11-26": (
        [-0.036355, -0.169476, 0.120724, 0.147258, 0.034759, 0.388575, 0.003824, -0.048101, 0.250023],
        0.030266,
    ),
}

pytestmark = pytest.mark.parametrize("version", ITERATIONS)


def copied(version: str, to: Path) -> Path:
    return Path(shutil.copytree(EARLIER / version / "run", to / "run"))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rows(metrics: bytes) -> list[dict[str, float]]:
    table = csv.DictReader(io.StringIO(metrics.decode()))
    return [{tag: float(number) for tag, number in row.items() if number} for row in table]


def samples(replay: Path) -> int:
    with np.load(replay) as arrays:
        return len(arrays["policy"])


def assert_holds(folder: Path, before: dict[str, bytes], *, but: set[str] = frozenset()) -> None:
    """The folder has all files that it had before, as they were."""
    now = contents(folder)
    assert {name for name in before if now.get(name) != before[name]} == but


def test_every_kept_folder_is_read(version: str) -> None:
    assert {path.name for path in EARLIER.iterdir()} == set(ITERATIONS)
    assert int(max(path.name for path in (EARLIER / version / "run" / "checkpoints").iterdir())) == ITERATIONS[version]


def test_a_run_goes_on_where_it_was_and_keeps_what_it_had(version: str, train: Train, tmp_path: Path) -> None:
    folder, done = copied(version, tmp_path), ITERATIONS[version]
    before, last = contents(folder), folder / "checkpoints" / f"{done:06d}"
    state = json.loads((last / "state.json").read_bytes())
    finished = train("--resume", folder, "--iterations", done + 1)
    assert finished.returncode == 0, finished.stderr
    said = " ".join(finished.stdout.split())
    assert f"iteration {done + 1} of {done + 1}" in said
    for trouble in ("trying the checkpoint before it", "do not fit", "learner.", "self_play.", "cluster."):
        assert trouble not in said  # the last checkpoint with its games, and no setting changed
    now, new = contents(folder), folder / "checkpoints" / f"{done + 1:06d}"
    old_rows, new_rows = rows(before["metrics.csv"]), rows(now["metrics.csv"])
    assert new_rows[:-1] == old_rows
    assert new_rows[-1]["iteration"] == done
    streams = tomllib.loads(before["config.toml"].decode())["self_play"]
    moves = streams["streams"] * streams["moves"] * streams.get("parallel_games", streams.get("games"))
    assert new_rows[-1]["buffer/samples"] == samples(new / "replay.npz")
    assert samples(last / "replay.npz") < samples(new / "replay.npz") <= samples(last / "replay.npz") + 2 * moves
    assert json.loads((new / "state.json").read_bytes())["steps"] == state["steps"] + new_rows[-1]["learner/steps"]
    assert now["log.txt"].startswith(before["log.txt"])
    kept = {name for name in before if name.startswith(("games/", f"checkpoints/{done:06d}/")) or "tfevents" in name}
    assert all(now[name] == before[name] for name in kept)
    events = next(path.parent for path in folder.rglob("events*"))
    assert [step for step, _ in scalars(events, "buffer/samples")] == list(range(done + 1))


def test_a_run_is_reported_on(version: str, command: Command, tmp_path: Path) -> None:
    folder = copied(version, tmp_path)
    before = contents(folder)
    finished = command(scripts.report.main, folder, "--text")
    assert (finished.returncode, finished.stderr) == (0, "")
    last = folder / "checkpoints" / f"{ITERATIONS[version]:06d}"
    buffer = next(line for line in finished.stdout.splitlines() if line.startswith("| all samples "))
    assert int(buffer.split("|")[2]) == samples(last / "replay.npz")
    assert "skipped" not in finished.stdout
    assert_holds(folder, before)


def test_a_run_is_measured(version: str, command: Command, tmp_path: Path) -> None:
    folder = copied(version, tmp_path)
    before = contents(folder)
    finished = command(scripts.benchmark.main, folder, "--against", "random", "--games", 4, "--simulations", 2)
    assert finished.returncode == 0, finished.stderr
    record = json.loads((folder / "benchmark.json").read_bytes())
    assert (record["iteration"], record["complete"]) == (ITERATIONS[version], True)
    assert {point["iteration"] for point in record["curve"]} == {ITERATIONS[version] - 1, ITERATIONS[version]}
    assert_holds(folder, before)


def test_an_agent_is_played_against(
    version: str, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("agent.onnx", "agent.json"):
        shutil.copy(EARLIER / version / "run" / name, tmp_path)
    before = contents(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO("b2\nmoves\nquit\n"))
    finished = command(scripts.play.main, tmp_path / "agent.onnx", "--budget", 4)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert f"agent.onnx, iteration {ITERATIONS[version]} " in " ".join(finished.stdout.split())
    _, second = next(line for line in finished.stdout.splitlines() if line.startswith("b2 ")).split()
    assert second in {"a1", "a2", "a3", "b1", "b3", "c1", "c2", "c3"}
    assert_holds(tmp_path, before)


def test_an_agent_says_what_it_said(version: str, tmp_path: Path) -> None:
    folder, (logits, value) = copied(version, tmp_path), ANSWERS[version]
    state = Record(TicTacToe(), "b2 a3").state
    for source in (folder / "agent.onnx", folder, folder / "checkpoints" / f"{ITERATIONS[version]:06d}"):
        said = load_agent(source).evaluator(state, torch.Generator())
        torch.testing.assert_close(said.logits, torch.tensor([logits]), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(said.value, torch.tensor([value]), rtol=1e-4, atol=1e-5)


def test_a_configuration_means_what_it_meant(version: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        config: dict[str, Any] = asdict(load_config(EARLIER / version / "configuration.toml"))
    given = tomllib.loads((EARLIER / version / "configuration.toml").read_text())
    for section, fields in given.items():
        for name, meant in fields.items() if isinstance(fields, dict) else ():
            _, _, now = OLD_NAMES.get(f"{section}.{name}", f"{section}.{name}").partition(".")
            assert config[section][now] == (tuple(meant) if isinstance(meant, list) else meant)
    assert (config["game"], config["iterations"]) == ("games.tic_tac_toe:TicTacToe", ITERATIONS[version])
