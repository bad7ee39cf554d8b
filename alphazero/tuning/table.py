"""A tuning in words: a line for each trial, and the table of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table

from alphazero.report.terminal import clock, make_table
from alphazero.tuning.records import QUARTERS, Trial
from alphazero.tuning.settings import Setting, short_names, shown
from alphazero.tuning.yardsticks import Yardstick

STATES = {"complete": "", "stopped": "stopped early", "failed": "failed", "running": "not over"}


def ranked(trials: Sequence[Trial], yardstick: Yardstick) -> list[Trial]:
    """The trials, best first: those that came to their end, then the others by how far they came."""
    sign = 1 if yardstick.lower else -1

    def place(trial: Trial) -> tuple[bool, int, float]:
        quarter = max(trial.looks, default=0)
        return trial.state != "complete", -quarter, sign * trial.looks.get(quarter, 0.0)

    return sorted(trials, key=place)


def best(trials: Sequence[Trial], yardstick: Yardstick) -> Trial | None:
    """The best of those that came to their end."""
    complete = [trial for trial in ranked(trials, yardstick) if trial.state == "complete"]
    return complete[0] if complete else None


def worth(trial: Trial, yardstick: Yardstick) -> str:
    """What it was worth when it was looked at last."""
    if not trial.looks:
        return "–"
    quarter = max(trial.looks)
    value = yardstick.format(trial.looks[quarter])
    return value if quarter == QUARTERS else f"{value} at {quarter}/{QUARTERS}"


def items(trial: Trial, trials: Sequence[Trial], settings: Sequence[Setting], yardstick: Yardstick) -> list[str]:
    """A trial that is over, in words: what it was worth, the best so far, its settings."""
    leader = best(trials, yardstick)
    words = {"stopped": f"stopped early, {worth(trial, yardstick)}", "failed": f"failed: {trial.error}"}
    found = [f"{trial.name}  {words.get(trial.state, worth(trial, yardstick))}"]
    if leader:
        found.append("the best" if leader is trial else f"best {worth(leader, yardstick)}")
    return found + [f"{name} {shown(trial.values[full])}" for full, name in short_names(settings).items()]


def table(
    trials: Sequence[Trial],
    settings: Sequence[Setting],
    yardstick: Yardstick,
    importances: Mapping[str, float],
    title: str,
) -> Table:
    """All trials, best first, with the settings by their importance where that is known."""
    names = short_names(settings)
    order = sorted(names, key=lambda name: -importances.get(name, 0.0))
    heads = [f"{names[name]}\n({importances[name]:.0%})" if name in importances else names[name] for name in order]
    made = make_table(title, ["trial"], [yardstick.name, "", *heads, "itera-\ntions", "time"])
    for trial in ranked(trials, yardstick):
        values = [shown(trial.values[name]) for name in order]
        spent = clock(trial.seconds)
        made.add_row(trial.name, worth(trial, yardstick), STATES[trial.state], *values, str(trial.iterations), spent)
    return made
