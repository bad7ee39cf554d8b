"""Weights & Biases and MLflow are told what TensorBoard is told, by stand-ins with the signatures of the packages.

Both were also tried themselves, offline: wandb 0.31.0, mlflow 3.17.2.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import pytest

from alphazero.config import ConfigError
from alphazero.report.trackers import tracking
from alphazero.runs.metrics import read_history
from tests.training_runs import SMALL, train_session


@dataclass
class WandbRun:
    logged: list[dict[str, Any]] = field(default_factory=list)
    defined: list[tuple[str, Any]] = field(default_factory=list)
    ended: list[int | None] = field(default_factory=list)
    given: dict[str, Any] = field(default_factory=dict)
    fails: bool = False

    def log(self, data: dict[str, Any], step: int | None = None, commit: bool | None = None) -> None:
        if self.fails:
            raise ConnectionError("nobody answers")
        self.logged.append(data)

    def define_metric(self, name: str, step_metric: str | None = None, step_sync: bool | None = None) -> None:
        self.defined.append((name, step_metric))

    def finish(self, exit_code: int | None = None) -> None:
        self.ended.append(exit_code)


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> WandbRun:
    run = WandbRun()

    def init(
        entity: str | None = None, project: str | None = None, dir: str | None = None, id: str | None = None,
        name: str | None = None, notes: str | None = None, tags: Sequence[str] | None = None,
        config: dict[str, Any] | None = None, group: str | None = None, resume: str | None = None,
        settings: object = None,
    ) -> WandbRun:  # fmt: skip
        run.given = {"project": project, "dir": dir, "id": id, "name": name, "group": group, "resume": resume}
        run.given["config"] = config
        return run

    def settings(*, console: str, silent: bool) -> None:
        assert (console, silent) == ("off", True)

    module = ModuleType("wandb")
    module.init, module.Settings = init, settings  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", module)
    return run


class Metric(NamedTuple):
    key: str
    value: float
    timestamp: int
    step: int


class Param(NamedTuple):
    key: str
    value: str


@dataclass
class MlflowServer:
    experiments: list[str] = field(default_factory=list)
    runs: dict[str, tuple[str, str | None]] = field(default_factory=dict)  # experiment and name
    metrics: list[tuple[str, Metric]] = field(default_factory=list)
    params: dict[str, str] = field(default_factory=dict)
    status: list[tuple[str, str | None]] = field(default_factory=list)

    def get_experiment_by_name(self, name: str) -> Any:
        found = name in self.experiments
        return SimpleNamespace(experiment_id=str(self.experiments.index(name))) if found else None

    def create_experiment(
        self, name: str, artifact_location: str | None = None, tags: dict[str, Any] | None = None
    ) -> str:
        self.experiments.append(name)
        return str(len(self.experiments) - 1)

    def create_run(
        self, experiment_id: str, start_time: int | None = None, tags: dict[str, Any] | None = None,
        run_name: str | None = None,
    ) -> Any:  # fmt: skip
        identity = f"{len(self.runs):032x}"
        self.runs[identity] = self.experiments[int(experiment_id)], run_name
        return SimpleNamespace(info=SimpleNamespace(run_id=identity))

    def log_batch(
        self, run_id: str, metrics: Sequence[Metric] = (), params: Sequence[Param] = (), tags: Sequence[Any] = (),
        synchronous: bool | None = None,
    ) -> None:  # fmt: skip
        assert run_id in self.runs
        assert len(params) <= 100  # its limit
        self.metrics += [(run_id, metric) for metric in metrics]
        for param in params:
            assert self.params.setdefault(param.key, param.value) == param.value  # they never change

    def set_terminated(self, run_id: str, status: str | None = None, end_time: int | None = None) -> None:
        self.status.append((run_id, status))

    def update_run(self, run_id: str, status: str | None = None, name: str | None = None) -> None:
        assert run_id in self.runs
        self.status.append((run_id, status))


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> MlflowServer:
    server = MlflowServer()
    module, entities = ModuleType("mlflow"), ModuleType("mlflow.entities")
    module.MlflowClient = lambda: server  # type: ignore[attr-defined]
    entities.Metric, entities.Param = Metric, Param  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mlflow", module)
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
    return server


def test_wandb_is_told_every_metric_and_is_gone_on_with(tmp_path: Path, wandb: WandbRun) -> None:
    config, folder = replace(SMALL, tracker="wandb"), tmp_path / "runs" / "mine"
    train_session(config, folder, stop_after=1)
    identity = (folder / "tracker.id").read_text().strip()
    first = wandb.given
    assert (first["project"], first["group"], first["name"], first["dir"]) == (
        "tic_tac_toe",
        "runs",
        "mine",
        str(folder),
    )
    assert (first["id"], first["resume"]) == (identity, "allow")
    assert first["config"]["search.simulations"] == SMALL.search.simulations
    assert wandb.defined == [("*", "iteration")]
    train_session(config, folder, resume=True)
    assert wandb.given["id"] == identity
    assert wandb.ended == [0, 0]
    told: dict[int, dict[str, float]] = {}
    for row in wandb.logged:
        told.setdefault(row["iteration"], {}).update({tag: value for tag, value in row.items() if tag != "iteration"})
    assert told == read_history(folder / "metrics.csv")


def test_mlflow_is_told_every_metric_and_is_gone_on_with(tmp_path: Path, mlflow: MlflowServer) -> None:
    config, folder = replace(SMALL, tracker="mlflow"), tmp_path / "runs" / "mine"
    folder.mkdir(parents=True)
    scalars = {0: {"loss/total": 1.5, "strength/minimax:5/points": 0.25}, 1: {"loss/total": 1.25}}
    for iteration, row in scalars.items():
        with tracking("tic_tac_toe", config, folder) as record:
            record(iteration, row)
    [identity] = mlflow.runs
    assert mlflow.runs == {identity: ("tic_tac_toe", "mine")}
    assert mlflow.status == [(identity, "FINISHED"), (identity, "RUNNING"), (identity, "FINISHED")]
    assert mlflow.params["search.simulations"] == str(SMALL.search.simulations)
    told: dict[int, dict[str, float]] = {}
    for _, metric in mlflow.metrics:
        told.setdefault(metric.step, {})[metric.key] = metric.value
    assert told == scalars


def test_names_that_mlflow_refuses_are_written_otherwise(tmp_path: Path, mlflow: MlflowServer) -> None:
    (tmp_path / "run").mkdir()
    with tracking("tic_tac_toe", replace(SMALL, tracker="mlflow"), tmp_path / "run") as record:
        record(3, {"strength/minimax:5@0.2/points": 0.5})
    [(_, metric)] = mlflow.metrics
    assert (metric.key, metric.value, metric.step) == ("strength/minimax:5_0.2/points", 0.5, 3)


def test_a_tracker_that_fails_is_told_no_more_and_the_run_goes_on(
    tmp_path: Path, wandb: WandbRun, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "run").mkdir()
    with tracking("tic_tac_toe", replace(SMALL, tracker="wandb"), tmp_path / "run") as record:
        record(0, {"loss/total": 1.0})
        wandb.fails = True
        record(1, {"loss/total": 0.9})
        wandb.fails = False
        record(2, {"loss/total": 0.8})
    assert [row["iteration"] for row in wandb.logged] == [0]
    assert [record.message for record in caplog.records] == [
        f"wandb fails (nobody answers), and is told nothing more of {tmp_path / 'run'}"
    ]


def test_a_run_that_fails_is_marked_so(tmp_path: Path, wandb: WandbRun) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(ZeroDivisionError), tracking("t", replace(SMALL, tracker="wandb"), tmp_path / "run"):
        raise ZeroDivisionError
    assert wandb.ended == [1]


@pytest.mark.parametrize("tracker", ["wandb", "mlflow"])
def test_a_missing_package_is_one_error_and_leaves_nothing_behind(
    tmp_path: Path, tracker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, tracker, None)
    with pytest.raises(ConfigError) as missing:
        train_session(replace(SMALL, tracker=tracker), tmp_path / "run")  # type: ignore[arg-type]
    install = f"pip install 'alphazero-engine[{tracker}]'"
    assert str(missing.value) == f'tracker = "{tracker}" needs a package: {install}'
    assert not (tmp_path / "run").exists()


def test_a_refusal_is_one_error(tmp_path: Path, wandb: WandbRun, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(**options: Any) -> None:
        raise PermissionError("no API key\nconfigured")

    monkeypatch.setattr("wandb.init", refusing, raising=False)
    with pytest.raises(ConfigError, match=r"wandb does not take the run \(PermissionError: no API key configured\)"):
        train_session(replace(SMALL, tracker="wandb"), tmp_path / "run")


def test_without_a_tracker_none_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for tracker in ("wandb", "mlflow"):
        monkeypatch.setitem(sys.modules, tracker, None)
    with tracking("tic_tac_toe", SMALL, tmp_path) as record:
        record(0, {"loss/total": 1.0})
    assert list(tmp_path.iterdir()) == []
