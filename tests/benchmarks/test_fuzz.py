"""A short part of the fuzzing: nothing fails, every input follows from its number, and failures are noticed."""

from __future__ import annotations

import io
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from alphazero.runs.files import RunError
from benchmarks import alterations, fuzz
from benchmarks.altered_inputs import KINDS, Bench, Trial, make_originals
from benchmarks.fuzz import Result, results, show

COUNT = 300


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the originals in it, and the copies beside them."""
    folder = tmp_path_factory.mktemp("fuzz")
    make_originals(folder / "originals")
    return folder


def test_altered_input_is_refused_in_one_line_or_read(folder: Path) -> None:
    found = list(results(folder, 0, range(COUNT), list(KINDS)))
    assert [result.number for result in found] == list(range(COUNT))
    assert [result for result in found if result.outcome in fuzz.FAILURES] == []
    counts = Counter(result.outcome for result in found)
    assert counts["refused"] > COUNT / 2
    assert counts["accepted"] > 0
    assert {result.kind for result in found} == set(KINDS)


def test_an_input_follows_from_its_number(folder: Path) -> None:
    (whole, part) = ([*results(folder, 3, numbers, ["states", "games"])] for numbers in (range(6), range(4, 6)))
    assert [result[:4] for result in whole[4:]] == [result[:4] for result in part]


def seen(
    trial: Trial, folder: Path, monkeypatch: pytest.MonkeyPatch, *, count: int = 2, patience: float = 20.0
) -> list[Result]:
    """The results of inputs that are all this one."""
    monkeypatch.setitem(fuzz.KINDS, "states", (1, lambda bench, draw: trial))
    monkeypatch.setattr(fuzz, "PATIENCE", patience)
    return list(results(folder, 0, range(count), ["states"]))


def refuse(error: Exception) -> None:
    raise error


def test_each_failure_is_noticed_and_the_next_input_is_tried(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang() -> None:
        time.sleep(60)

    def die() -> None:
        signal.raise_signal(signal.SIGKILL)

    def grow() -> float:
        return float(np.ones(200_000_000).sum())

    for read, outcome in (
        (lambda: 1, "silent"),
        (lambda: refuse(KeyError("x")), "traceback"),
        (lambda: refuse(RunError("something else")), "unclear"),
        (lambda: refuse(RunError("state.json " + "x" * 2000)), "unclear"),
        (lambda: refuse(RunError("state.json is altered")), "refused"),
        (hang, "hang"),
        (die, "death"),
        (grow, "memory"),
    ):
        trial = Trial("", read, (RunError,), ("state.json",), lambda found: True)
        patience = 3.0 if outcome == "hang" else 20.0  # what grows takes its time on a busy machine
        found = seen(trial, folder, monkeypatch, patience=patience)
        assert [result.outcome for result in found] == [outcome] * 2


def test_what_failed_is_counted_shown_and_written_down(tmp_path: Path) -> None:
    def found() -> Iterator[Result]:
        yield Result(0, "states", "a bit flipped", "refused", "told")
        yield Result(1, "states", "cut", "traceback", "KeyError: x")

    printed = io.StringIO()
    assert show(found(), tmp_path / "out", Console(file=printed, width=200)) == 1
    assert "1: states, cut: traceback" in printed.getvalue()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["1.txt"]
    assert (tmp_path / "out" / "1.txt").read_text().splitlines()[-1] == "KeyError: x"
    assert show(iter([Result(0, "states", "", "refused")]), None, Console(file=io.StringIO())) == 0


def test_alterations_alter(folder: Path, tmp_path: Path) -> None:
    """Nearly always, and each in its own way."""
    bench, content = Bench(folder / "originals", tmp_path / "copies"), bytes(range(256)) * 4
    changed = [alterations.altered_bytes(content, random.Random(number)) for number in range(200)]
    assert sum(data != content for data, _ in changed) > 190
    assert len({what.split(" at ")[0] for _, what in changed}) > 10
    serialized = (bench.folder / "run" / "agent.onnx").read_bytes()
    models = [alterations.altered_model(serialized, random.Random(number))[0] for number in range(60)]
    assert sum(model != serialized for model in models) > 50
