"""The benchmarks' harness: speeds are medians of rounds in turns, options are checked, and reports are shown."""

from __future__ import annotations

import argparse
import io
import json
import operator
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import harness
from benchmarks.harness import (
    Report,
    Speed,
    in_turns,
    new_file,
    one_of,
    run_sections,
    scaled,
    seconds,
    sections_parser,
    show,
    side_by_side,
    whole,
    without_peers,
)


class Clock:
    """Time that passes only while contenders work, on two cores."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(harness.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(harness, "cpu_seconds", lambda: 2 * self.now)

    def work(self, name: str, units: int, durations: list[float], calls: list[str]) -> Callable[[], int]:
        """Work that takes these seconds, call by call, and then as many as the last."""

        def work() -> int:
            calls.append(name)
            self.now += durations.pop(0) if len(durations) > 1 else durations[0]
            return units

        return work


def test_contenders_take_turns_and_their_median_rounds_count(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, calls = Clock(monkeypatch), list[str]()
    # The first call compiles, and does not count.
    works = {"a": clock.work("a", 10, [99.0, 5.0, 1.0, 2.0], calls), "b": clock.work("b", 3, [99.0, 0.5], calls)}
    speeds = in_turns(works, rounds=3, seconds=0.75)
    assert calls == [*"ab", *"abb", *"abb", *"abb"]
    assert speeds == {"a": Speed(10 / 2, cores=2), "b": Speed(3 / 0.5, cores=2)}


def test_a_round_has_work_in_it_however_short(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, calls = Clock(monkeypatch), list[str]()
    assert in_turns({"a": clock.work("a", 10, [2.0], calls)}, rounds=1, seconds=0) == {"a": Speed(5, cores=2)}
    assert calls == ["a", "a"]


def test_a_scaled_speed_uses_the_same_cores() -> None:
    assert scaled(Speed(6.0, 1.5), 0.5) == Speed(3.0, 1.5)


def test_cpu_seconds_count_those_of_other_processes() -> None:
    burn = "import time\nwhile time.process_time() < 0.5: pass\nprint(flush=True); input()"
    before = harness.cpu_seconds() - time.process_time()
    command = [sys.executable, "-c", burn]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        used = harness.cpu_seconds() - time.process_time() - before
        process.communicate(b"\n")
    assert used == pytest.approx(0.5, abs=0.1)


def test_processes_side_by_side_each_do_their_own_work_on_the_same_arguments() -> None:
    work = side_by_side([partial(partial, operator.mul, factor) for factor in (2, 3)])
    assert work(5) == 2 * 5 + 3 * 5
    assert work(7) == 2 * 7 + 3 * 7


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (whole, "1", 1),
        (whole, "4096", 4096),
        (seconds, "0", 0.0),
        (seconds, "0.5", 0.5),
        (seconds, "3599", 3599.0),
        (one_of(("sac", "ppo"), "rival"), "ppo", "ppo"),
    ],
)
def test_options_are_read(parse: Callable[[str], object], text: str, value: object) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        *((whole, text, "is not a whole number of 1 or more") for text in ("0", "-1", "1.5", "many", "")),
        *((seconds, text, "is not a number of seconds") for text in ("-1", "3600", "nan", "inf", "long")),
        (new_file, "nowhere/speeds.json", "there is no folder .*nowhere"),
        (one_of(("sac", "ppo"), "rival"), "dqn", "there is no rival 'dqn'; choose from sac, ppo"),
    ],
)
def test_wrong_options_are_explained(parse: Callable[[str], object], text: str, message: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=message):
        parse(text)


def test_a_file_may_be_new_but_not_its_folder(tmp_path: Path) -> None:
    assert new_file(str(tmp_path / "speeds.json")) == tmp_path / "speeds.json"


def test_missing_packages_are_named_with_the_way_to_get_them() -> None:
    note = without_peers(ModuleNotFoundError("No module named 'mctx'", name="mctx"))
    assert "mctx is missing" in note
    assert "`pip install -c constraints.txt -e '.[peers]'`" in note


def test_the_sections_asked_for_are_measured_in_their_own_order_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured: list[str] = []

    def measure(name: str, options: argparse.Namespace, report: Report) -> None:
        measured.append(name)
        report.speed(name, f"fast {name}", Speed(1234.4, 1.25), "moves/s")
        report.ratio(name, f"{name} against itself", 1.5, promised=1.25)

    names = ("tree", "inference", "peers")
    measures = {name: partial(measure, name) for name in names}
    parser = sections_parser("Measures.", names)
    run_sections(parser.parse_args(["peers", "tree", "--json", str(tmp_path / "speeds.json")]), measures)
    assert measured == ["tree", "peers"]
    written = json.loads((tmp_path / "speeds.json").read_text())
    assert written["speeds"] == [
        {"section": name, "what": f"fast {name}", "unit": "moves/s", "rate": 1234.4, "cores": 1.25} for name in measured
    ]
    assert written["ratios"] == [
        {"section": name, "what": f"{name} against itself", "ratio": 1.5, "promised": 1.25} for name in measured
    ]
    assert written["machine"]["processor"] in capsys.readouterr().out
    assert parser.parse_args([]).sections == list(names)


def test_a_section_is_shown_with_its_notes_and_whether_its_promises_are_kept() -> None:
    report = Report({}, notes=["tree: a note", "peers: left out"])
    report.speed("tree", "search", Speed(1234.5, 1.96), "simulations/s")
    report.speed("peers", "mctx", Speed(99.0, 1.0), "simulations/s")
    for what, ratio, promised in (("above", 0.95, 0.9), ("just", 0.9, 0.9), ("below", 0.85, 0.9), ("free", 2.0, None)):
        report.ratio("tree", what, ratio, promised=promised)
    console = Console(file=io.StringIO(), width=120)
    show(console, report, "tree")
    lines = [line.split() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    assert ["search", "1,234", "simulations/s", "2.0"] in lines
    assert ["above", "0.95", "at", "least", "0.9", "kept"] in lines
    assert ["just", "0.90", "at", "least", "0.9", "kept"] in lines
    assert ["below", "0.85", "at", "least", "0.9", "not", "kept"] in lines
    assert ["free", "2.00"] in lines
    assert ["tree:", "a", "note"] in lines
    assert not any(word in line for line in lines for word in ("mctx", "peers:"))
