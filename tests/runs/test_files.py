"""The list of a run's files holds what is written, and no other name; writing is all or nothing."""

from __future__ import annotations

import errno
import fcntl
import os
import sys
from pathlib import Path

import pytest

from alphazero.report.benchmark import write_beside_run
from alphazero.report.run_report import report_sections, write_report
from alphazero.runs.files import (
    LOCK,
    REPORT,
    atomic,
    events_folder,
    is_checkpoint_file,
    is_run_file,
    naming,
    run_files,
    write_file,
    write_json,
)
from tests.small_benchmark import played
from tests.training_runs import copy_of_whole


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_all_that_training_benchmark_and_report_write_is_in_the_list(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = copy_of_whole(tmp_path_factory, "run")
    write_beside_run(played(folder, against=["random"]))
    write_report(folder, report_sections(folder), folder / REPORT)
    checkpoints = {name for name in files(folder) if is_checkpoint_file(name)}
    assert set(run_files(folder)) | checkpoints == files(folder) - {LOCK}
    assert (folder / LOCK).read_bytes() == b""
    assert not is_run_file(LOCK)  # it is of a process here, and is not mirrored
    assert {"benchmark.json", "report/report.md", "report/strength.png"} <= set(run_files(folder))
    assert not any(map(is_run_file, checkpoints))


def test_events_are_in_the_run_s_folder_or_where_an_older_version_began(tmp_path: Path) -> None:
    assert events_folder(tmp_path) == tmp_path
    (tmp_path / "tensorboard").mkdir()
    assert events_folder(tmp_path) == tmp_path / "tensorboard"
    for name in ("events.out.tfevents.1.host.2.0", "tensorboard/events.out.tfevents.1.host.2.0"):
        (tmp_path / name).touch()
        assert is_run_file(name)
        assert name in run_files(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "events.out.tfevents.a/b",
            "events.out.tfevents.1.host.2.0.py",
            "tensorboard/events.out.tfevents.1.host.py",
            "tensorboard/events.out.tfevents.1.\\..\\evil.2.0",
            "tensorboard",
            "notes.md",
            "games/.000001.npz.unfinished",
            "games/a/000001.npz",
            "games/evil.py",
            "games/",
            "",
        ),
        *("report/report.py", "report/../../a.png", "tensorboard/x.py", "checkpoints/000001/state.json"),
        *("../metrics.csv", "/log.txt"),
    ],
)
def test_a_run_has_no_other_names(name: str) -> None:
    assert not is_run_file(name)


@pytest.mark.parametrize("name", ["checkpoints/000001/notes.md", "checkpoints/a/state.json", "000001/state.json"])
def test_a_checkpoint_has_no_other_names(name: str) -> None:
    assert is_checkpoint_file("checkpoints/000001/state.json")
    assert not is_checkpoint_file(name)


def half_a_file(path: Path) -> None:
    with atomic(path) as unfinished:
        unfinished.write_bytes(b"new, but not")
        raise KeyboardInterrupt


def half_a_folder(path: Path) -> None:
    with atomic(path) as unfinished:
        unfinished.mkdir()
        write_file(unfinished / "two", b"2")
        raise KeyboardInterrupt


def test_a_file_or_folder_is_replaced_as_a_whole_or_left_as_it_was(tmp_path: Path) -> None:
    write_file(tmp_path / "file", b"old")
    with atomic(tmp_path / "folder") as unfinished:
        unfinished.mkdir()
        write_file(unfinished / "one", b"1")
        assert files(tmp_path) == {"file", ".folder.unfinished/one"}
    for write in (lambda: half_a_file(tmp_path / "file"), lambda: half_a_folder(tmp_path / "folder")):
        with pytest.raises(KeyboardInterrupt):
            write()
    assert files(tmp_path) == {"file", "folder/one"}
    assert (tmp_path / "file").read_bytes() == b"old"
    with atomic(tmp_path / "folder") as unfinished:
        unfinished.mkdir()
        write_file(unfinished / "two", b"2")
    assert files(tmp_path) == {"file", "folder/two"}


def test_numbers_that_json_cannot_hold_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "record.json", {"share": float("nan")})
    assert files(tmp_path) == set()


def test_an_error_names_the_path(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"metrics\.csv") as caught, naming(tmp_path / "metrics.csv"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path / "metrics.csv"))


def test_on_macos_what_is_written_is_forced_out_of_the_disk_s_own_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As fsync(2) there says: F_FULLFSYNC does, fsync does not. A disk of a network may refuse it."""
    calls: list[str] = []

    def full_flush(descriptor: int, command: int) -> None:
        assert os.fstat(descriptor).st_size == 3
        calls.append("F_FULLFSYNC" if command == 51 else str(command))
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", full_flush)
    monkeypatch.setattr(os, "fsync", lambda descriptor: calls.append("fsync"))
    write_file(tmp_path / "file", b"abc")
    assert calls == ["F_FULLFSYNC", "fsync"]
