"""The script that measures how work spreads runs at the smallest sizes; its figures depend on the machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.cluster import main

pytestmark = pytest.mark.cluster

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "cluster.py"
TINY = {"rounds": 1, "games": 2, "moves": 1, "segments": 1, "simulations": 2, "seconds": 0}
TINY |= {"simulated": 2, "window": 0, "rate": 500}


def measure(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )


def test_every_section_reports_its_speeds_and_promises(tmp_path: Path) -> None:
    done = measure(*(f"--{name}={value}" for name, value in TINY.items()), "--json", "speeds.json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "speeds.json").read_text())
    assert {speed["section"] for speed in report["speeds"]} == {"workers", "driver", "shared"}
    assert all(speed["rate"] > 0 for speed in report["speeds"])
    assert [ratio["promised"] for ratio in report["ratios"] if ratio["promised"]] == [0.95, 1.8, 1.0]
    parts = [ratio["ratio"] for ratio in report["ratios"] if "CPU time" in ratio["what"]]
    assert sum(parts) == pytest.approx(1)
    assert all(0 <= part < 1 for part in parts)
    for speed in report["speeds"]:
        assert speed["what"] in done.stdout
    assert "2 processes stood for 2 workers" in done.stdout
    assert "saturates at about" in done.stdout


def test_an_unknown_section_is_refused_with_the_known_ones(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["cluster.py", "worker"])
    with pytest.raises(SystemExit) as refused:
        main()
    assert refused.value.code == 2
    assert "there is no section 'worker'; choose from workers, driver, shared" in capsys.readouterr().err
