"""benchmarks/surrogates.py runs, and networks err more outside of what they have learned from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import surrogates
from tests.commands import Command


def test_surrogates_are_measured(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surrogates, "STEPS", 60)
    told = command(surrogates.main, "--samples", "500", "--targets", "20", "--out", tmp_path)
    assert told.returncode == 0, told.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    within, stronger, heavier = results["shot"]["errors"].values()
    assert within[0] < stronger[0]
    assert within[0] < heavier[0]
    assert within[0] < 5  # m, of distances up to 130
    assert results["step"]["simulator"]["miss"][0] < 1e-3 < results["step"]["surrogate"]["miss"][0]
    told = command(surrogates.main, "--samples", "5", "--out", tmp_path)
    assert (told.returncode, "--samples must be from 100" in told.stderr) == (2, True)
