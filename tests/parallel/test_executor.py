"""Threads do the tasks they are given, side by side."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from alphazero.parallel.executor import ThreadExecutor, available_cores
from tests.parallel.executor_tasks import PATIENCE, CountTask, FailingTask


def test_outcomes_are_those_of_the_tasks_and_progress_adds_up(tmp_path: Path) -> None:
    counted = list[int]()
    with ThreadExecutor({"threads": 1}, 2) as executor:
        assert executor.size == 2
        shared = executor.share(1000)
        tasks = [CountTask(n, tmp_path / "book", units=7) for n in range(9)]
        futures = [executor.submit(task, shared, count=counted.append) for task in tasks]
        assert [future.result(PATIENCE) for future in futures] == [(1000 + n**2, os.getpid()) for n in range(9)]
        assert executor.scalars() == {}
    assert sum(counted) == 9 * 7
    assert sorted(map(int, (tmp_path / "book").read_text().split())) == list(range(9))


def test_an_error_is_that_of_its_task_alone(tmp_path: Path) -> None:
    with ThreadExecutor({"threads": 1}, 1) as executor:
        bad, good = (executor.submit(kind(4, tmp_path / "book")) for kind in (FailingTask, CountTask))
        with pytest.raises(ZeroDivisionError, match="no such luck with 4"):
            bad.result(PATIENCE)
        assert good.result(PATIENCE)[0] == 16


def test_leaving_gives_up_waiting_tasks_and_counting_stops_running_ones(tmp_path: Path) -> None:
    stop = threading.Event()

    def count(done: int) -> None:
        assert stop.wait(PATIENCE)
        raise InterruptedError("enough")

    with ThreadExecutor({"threads": 1}, 1) as executor:
        running, waiting = (executor.submit(CountTask(n, tmp_path / "book"), count=count) for n in range(2))
        while not (tmp_path / "book").exists():
            pass
        assert waiting.cancel()
        stop.set()
        assert isinstance(running.exception(PATIENCE), InterruptedError)
    assert (tmp_path / "book").read_text().split() == ["0"]


def test_there_are_cores() -> None:
    assert 1 <= available_cores() <= (os.cpu_count() or 1)


def test_where_the_system_does_not_say_which_cores_it_lends_all_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert available_cores() == 7
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert available_cores() == 1
