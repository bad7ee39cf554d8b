"""tuning.json: what is written is read, and anything else is one error that names the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from alphazero.runs.configuration import to_toml
from alphazero.runs.files import RunError
from alphazero.tuning import records
from alphazero.tuning.records import Trial, Tuning
from tests.training_runs import SMALL

TUNING = Tuning(
    over=["search.c_scale=0.1..1", "search.simulations=4,8"],
    yardstick="points",
    minutes=0.5,
    budget=60.0,
    spent=31.5,
    done=[
        Trial(number=0, values={"search.c_scale": 0.5, "search.simulations": 8}, state="complete",
              looks={1: 0.25, 4: 0.625}, seconds=30.25, iterations=7),
        Trial(number=1, values={"search.c_scale": 0.1, "search.simulations": 4}, state="failed", error="no, it is"),
        Trial(number=2, values={"search.c_scale": 1.0, "search.simulations": 4}),
    ],
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    records.create(tmp_path / "tuning", TUNING, to_toml(SMALL))
    return tmp_path / "tuning"


def test_what_is_written_is_read(folder: Path) -> None:
    saved = records.read(folder)
    assert (saved.tuning, saved.config) == (TUNING, SMALL)
    assert [setting.name for setting in saved.settings] == ["search.c_scale", "search.simulations"]


def test_the_table_has_a_row_for_each_trial(folder: Path) -> None:
    saved = records.read(folder)
    records.write_table(folder, saved.tuning.done, saved.settings, "points")
    assert (folder / "trials.csv").read_text().splitlines() == [
        "trial,state,search.c_scale,search.simulations,points at 1/4,points at 2/4,points at 3/4,points at 4/4,"
        "iterations,seconds",
        "trial-000,complete,0.5,8,0.25,,,0.625,7,30.2",
        "trial-001,failed,0.1,4,,,,,0,0.0",
        "trial-002,running,1.0,4,,,,,0,0.0",
    ]


def test_nothing_is_written_over(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"exists already .go on with it: --resume "):
        records.create(folder, TUNING, "")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("mine")
    with pytest.raises(RunError, match=r"exists already .it is no tuning"):
        records.create(tmp_path / "other", TUNING, "")
    with pytest.raises(RunError, match=r"is no tuning: it has no tuning\.json"):
        records.read(tmp_path / "other")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"format": 2}, "`format`"),
        ({"over": ["search.c_scale=0.1..1", "os.system=1,2"]}, "there is no setting 'os.system'"),
        ({"over": ["search.c_scale=0.1..1"]}, "has values of other settings"),
        ({"over": ["search.c_scale=0.6..1", "search.simulations=4,8"]}, "search.c_scale of trial 0 is outside"),
        ({"code": "import os"}, "unknown field `code`"),
        ({"budget": -1}, "`budget`"),
        ({"spent": float("nan")}, "NaN is no number"),
        ({"done": {"number": 3}}, "trial 0 has the number 3"),
        ({"done": {"state": "running"}}, "a trial that is not the last is not over"),
        ({"done": {"state": "perfect"}}, "`done.0.state`"),
        ({"done": {"looks": {"1": 0.5}}}, "trial 0 is over, but has no value"),
        ({"done": {"looks": {"5": 0.5}}}, "`done.0.looks"),
        ({"done": {"values": {"search.c_scale": "0.5", "search.simulations": 8}}}, "search.c_scale of trial 0"),
        ({"done": {"error": "x" * 2000}}, "`done.0.error`"),
    ],
)
def test_anything_else_is_one_error(folder: Path, change: dict[str, Any], complaint: str) -> None:
    path = folder / "tuning.json"
    record = json.loads(path.read_text())
    if isinstance(of_trial := change.get("done"), dict):
        record["done"][0] |= of_trial
    else:
        record |= change
    path.write_text(json.dumps(record))
    with pytest.raises(RunError) as refused:
        records.read(folder)
    assert complaint in str(refused.value)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b"null"])
def test_what_is_no_json_is_one_error(folder: Path, content: bytes) -> None:
    (folder / "tuning.json").write_bytes(content)
    with pytest.raises(RunError, match=r"tuning\.json is no record of a tuning"):
        records.read(folder)
