"""The record of a tuning, `tuning.json`: what was asked for, and its trials. It is all that there is to go on from."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from alphazero.config import Config, ConfigError, Count
from alphazero.runs.configuration import describe_faults, load_config
from alphazero.runs.files import RunError, clear_errors, read_json, write_file, write_json
from alphazero.tuning.settings import Setting, Value, parse_settings

RECORD, CONFIGURATION, TABLE, BEST = "tuning.json", "configuration.toml", "trials.csv", "best.toml"
QUARTERS = 4  # a trial is looked at after each of so many equal parts

_strict = ConfigDict(extra="forbid", allow_inf_nan=False)
Seconds = Annotated[float, Field(ge=0, le=1e9)]
Number = Annotated[float, Field(ge=-1e9, le=1e9)]
Text = Annotated[str, Field(max_length=1_000)]


@dataclass(config=_strict, kw_only=True)
class Trial:
    """A trial, under way or over.

    values:     of the settings.
    state:      running: to go on with; complete; stopped: early, as others were better; failed.
    looks:      by quarter, what it was worth then.
    seconds:    wall-clock time.
    iterations: of its run.
    error:      why it failed.
    """

    number: Count
    values: dict[Text, bool | int | float | Text]
    state: Literal["running", "complete", "stopped", "failed"] = "running"
    looks: dict[Annotated[int, Field(ge=1, le=QUARTERS)], Number] = Field(default_factory=dict)
    seconds: Seconds = 0.0
    iterations: Count = 0
    error: Text = ""

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"trial-{self.number:03d}"

    @property
    def value(self) -> float | None:
        """What it was worth at its end; None if it did not come to that."""
        return self.looks[QUARTERS] if self.state == "complete" else None


@dataclass(config=_strict, kw_only=True)
class Tuning:
    """What was asked for, and what has been done.

    over:      the settings, as `--over` has them.
    yardstick: the name of the yardstick. positions: its file of solved positions, or nothing.
    minutes:   of each trial; 0: as many iterations as the configuration says.
    budget:    seconds in all; 0: no limit. trials: the most of them; 0: no limit.
    seed:      of the settings that are drawn.
    spent:     seconds, over all starts.
    """

    format: Literal[1] = 1
    over: Annotated[list[Text], Field(min_length=1, max_length=100)]
    yardstick: Text
    positions: Text = ""
    minutes: Seconds = 0.0
    budget: Seconds = 0.0
    trials: Count = 0
    seed: Count = 1
    spent: Seconds = 0.0
    done: list[Trial] = Field(default_factory=list, max_length=100_000)


class Saved(NamedTuple):
    """A tuning on disk: its record, the configuration that its trials derive from, and the settings."""

    tuning: Tuning
    config: Config
    settings: list[Setting]


def create(folder: Path, tuning: Tuning, toml: str) -> None:
    """Makes the folder of a new tuning. RunError if it is there already, or cannot be written."""
    with clear_errors(folder):
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            fix = f"go on with it: --resume {folder}" if (folder / RECORD).exists() else "it is no tuning"
            raise RunError(f"{folder} exists already ({fix}); name another folder with --run")
        folder.mkdir(parents=True, exist_ok=True)
        write_file(folder / CONFIGURATION, toml.encode())
    write(folder, tuning)


def write(folder: Path, tuning: Tuning) -> None:
    """Writes the record, whole or not at all."""
    with clear_errors(folder):
        write_json(folder / RECORD, asdict(tuning))


def read(folder: Path) -> Saved:
    """The tuning in the folder. RunError if there is none, or if it is not as `write` wrote it."""
    path = folder / RECORD
    if not path.is_file():
        raise RunError(f"{folder} is no tuning: it has no {RECORD}")
    try:
        tuning: Tuning = TypeAdapter(Tuning).validate_python(read_json(path))
        config = load_config(folder / CONFIGURATION)
        settings = parse_settings(tuning.over, config)
        for number, trial in enumerate(tuning.done):
            _check(trial, number, settings)
        if any(trial.state == "running" for trial in tuning.done[:-1]):
            raise ValueError("a trial that is not the last is not over")
    except ValidationError as error:
        raise RunError(f"{path} is no record of a tuning: {describe_faults(error)[0]}") from error
    except (ValueError, OSError, ConfigError) as error:
        raise RunError(f"{path} is no record of a tuning: {error}") from error
    return Saved(tuning, config, settings)


def _check(trial: Trial, number: int, settings: Sequence[Setting]) -> None:
    """ValueError if it is none of these settings."""
    if trial.number != number:
        raise ValueError(f"trial {number} has the number {trial.number}")
    if trial.values.keys() != {setting.name for setting in settings}:
        raise ValueError(f"trial {number} has values of other settings")
    if wrong := [setting.name for setting in settings if not setting.holds(trial.values[setting.name])]:
        raise ValueError(f"{wrong[0]} of trial {number} is outside of what is tried")
    if (trial.state == "complete" and QUARTERS not in trial.looks) or (trial.state == "stopped" and not trial.looks):
        raise ValueError(f"trial {number} is over, but has no value")


def write_table(folder: Path, trials: Sequence[Trial], settings: Sequence[Setting], yardstick: str) -> None:
    """Writes the trials in this order as comma-separated values."""
    content = io.StringIO(newline="")
    table = csv.writer(content, lineterminator="\n")
    quarters = range(1, QUARTERS + 1)
    names = [setting.name for setting in settings]
    looks = [f"{yardstick} at {quarter}/{QUARTERS}" for quarter in quarters]
    table.writerow(["trial", "state", *names, *looks, "iterations", "seconds"])
    for trial in trials:
        values: list[Value] = [trial.values[name] for name in names]
        seen: list[Any] = [trial.looks.get(quarter, "") for quarter in quarters]
        table.writerow([trial.name, trial.state, *values, *seen, trial.iterations, round(trial.seconds, 1)])
    with clear_errors(folder):
        write_file(folder / TABLE, content.getvalue().encode())
