"""Optional trackers of runs: Weights & Biases and MLflow are told the metrics that TensorBoard is told.

`tracker` in the configuration names one. Where their data go, their own settings say: `wandb login` and WANDB_MODE,
MLFLOW_TRACKING_URI. A tracker that fails in the midst of a run is left alone from then on: the run counts more.
"""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from alphazero.config import Config, ConfigError
from alphazero.game.messages import foreign_errors
from alphazero.report.events import hyper_parameters
from alphazero.runs.configuration import to_toml
from alphazero.runs.files import TRACKER_ID, read_file, write_file

_log = logging.getLogger(__name__)

LONGEST = 250  # characters of a parameter of MLflow

Record = Callable[[int, Mapping[str, float]], None]


class Tracked(NamedTuple):
    """A run as its tracker has it.

    identity: its name there, by which it is continued.
    record:   adds an iteration's scalars by tag.
    close:    ends it; is told whether the run failed.
    """

    identity: str
    record: Record
    close: Callable[[bool], None]


@contextmanager
def tracking(game: str, config: Config, folder: Path) -> Iterator[Record]:
    """A context in which the configuration's tracker, if it has one, is told what is recorded of the run in the folder.

    ConfigError if its package is missing, or if it refuses the run.
    """
    if config.tracker == "none":
        yield lambda iteration, scalars: None
        return
    try:
        with foreign_errors(f"{config.tracker} does not take the run"):
            tracked = TRACKERS[config.tracker](game, folder, _identity(folder), hyper_parameters(to_toml(config)))
            write_file(folder / TRACKER_ID, f"{tracked.identity}\n".encode())
    except ValueError as error:
        if isinstance(error.__cause__, ModuleNotFoundError):
            install = f"pip install 'alphazero-engine[{config.tracker}]'"
            raise ConfigError(f'tracker = "{config.tracker}" needs a package: {install}') from error
        raise ConfigError(f'{error}; its own settings may be wrong, and `tracker = "none"` does without') from error
    failed = False

    def record(iteration: int, scalars: Mapping[str, float]) -> None:
        nonlocal failed
        if not failed:
            try:
                tracked.record(iteration, scalars)
            except Exception as error:  # of any kind: it is another package's, perhaps of its connection
                failed = True
                _log.warning("%s fails (%s), and is told nothing more of %s", config.tracker, error, folder)

    try:
        yield record
    except BaseException:
        _close(tracked, True)
        raise
    _close(tracked, False)


def _close(tracked: Tracked, failed: bool) -> None:
    try:
        tracked.close(failed)
    except Exception as error:
        _log.warning("the tracker did not end in order (%s)", error)


def _identity(folder: Path) -> str | None:
    """The name of the run there, if it has one already."""
    with suppress(OSError, ValueError):
        text = read_file(folder / TRACKER_ID, 100).decode().strip()
        if re.fullmatch(r"[0-9a-f]{8,64}", text):
            return text
    return None


def _wandb(game: str, folder: Path, identity: str | None, settings: Mapping[str, Any]) -> Tracked:
    """A run in the project of the game's name, in the group of the folder around its own, in which its files are."""
    import wandb

    identity = identity or uuid.uuid4().hex
    run = wandb.init(
        project=game, group=folder.absolute().parent.name, name=folder.name, id=identity, resume="allow",
        dir=str(folder), config=dict(settings), settings=wandb.Settings(console="off", silent=True),
    )  # fmt: skip
    # Not its own count of steps, which never goes back: matches may end iterations after they began.
    run.define_metric("*", step_metric="iteration")

    def record(iteration: int, scalars: Mapping[str, float]) -> None:
        run.log({"iteration": iteration, **scalars})

    return Tracked(identity, record, lambda failed: run.finish(exit_code=int(failed)))


def _mlflow(game: str, folder: Path, identity: str | None, settings: Mapping[str, Any]) -> Tracked:
    """A run in the experiment of the game's name."""
    import mlflow
    from mlflow.entities import Metric, Param

    client = mlflow.MlflowClient()
    if identity:
        client.update_run(identity, status="RUNNING")
    else:
        there = client.get_experiment_by_name(game)
        experiment = there.experiment_id if there else client.create_experiment(game)
        group = folder.absolute().parent.name
        identity = str(client.create_run(experiment, tags={"group": group}, run_name=folder.name).info.run_id)
        params = [Param(name, str(value)[:LONGEST]) for name, value in settings.items()]
        client.log_batch(identity, params=params)
    name = identity

    def record(iteration: int, scalars: Mapping[str, float]) -> None:
        now = time.time_ns() // 1_000_000
        plain = {
            re.sub(r"[^\w./: -]", "_", tag): scalar for tag, scalar in scalars.items()
        }  # all that it lets be names
        client.log_batch(name, metrics=[Metric(tag, scalar, now, iteration) for tag, scalar in plain.items()])

    return Tracked(name, record, lambda failed: client.set_terminated(name, status="FAILED" if failed else "FINISHED"))


TRACKERS: Mapping[str, Callable[[str, Path, str | None, Mapping[str, Any]], Tracked]] = {
    "wandb": _wandb,
    "mlflow": _mlflow,
}
