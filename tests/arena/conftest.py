"""The run of tic-tac-toe that the tests of benchmarks share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.small_benchmark import load_quickly, small_run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_run(tmp_path_factory.getbasetemp())


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans export each checkpoint only once."""
    monkeypatch.setattr("alphazero.arena.plan.load_agent", load_quickly)
