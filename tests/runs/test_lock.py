"""One process a run: the lock holds against others, dies with its process, and names who holds it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from alphazero.runs import lock
from alphazero.runs.files import RunError
from alphazero.runs.lock import Holder, RunLock, run_lock

# A process that knows nothing of the engine, and locks the file.
LOCKING = """
import fcntl, json, os, sys, time
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
"""
NAMING = """
json.dump({"host": "there", "pid": os.getpid(), "since": "noon", "token": "x"}, file)
file.flush()
"""
TELLING = "print('held', flush=True)\n"
WAITING = "sys.stdin.read()\n"
HOLDING = LOCKING + NAMING + TELLING + WAITING


def held_by_another(folder: Path, script: str = HOLDING) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, str(folder / "run.lock")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_another_process_is_named_and_its_death_leaves_no_lock_behind(tmp_path: Path) -> None:
    process, said = held_by_another(tmp_path), list[str]()
    told = f"^{tmp_path} is held by process {process.pid} on there, since noon; a run is one process's"
    for _ in range(2):
        with pytest.raises(RunError, match=told), run_lock(tmp_path, say=pytest.fail):
            pass
    assert json.loads((tmp_path / "run.lock").read_bytes())["token"] == "x"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with run_lock(tmp_path, say=said.append):
        pass
    (line,) = said  # of another machine, so it may be that its locks are not seen here
    assert f"was held by process {process.pid} on there, since noon; it did not end in order" in line


@pytest.mark.parametrize("then", [NAMING + WAITING, ""])
def test_who_has_just_locked_is_named_once_it_has_written_its_name_and_who_lets_go_is_waited_for(
    then: str, tmp_path: Path
) -> None:
    process = held_by_another(tmp_path, LOCKING + TELLING + "time.sleep(0.5)\n" + then)
    try:
        if then:
            with pytest.raises(RunError, match=f"is held by process {process.pid} on there, since noon"):
                RunLock(tmp_path, say=pytest.fail)
        else:
            RunLock(tmp_path, say=pytest.fail).release()
    finally:
        process.kill()
        process.communicate()


def test_who_never_writes_its_name_is_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "NAMING", 0.2)
    with (tmp_path / "run.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(RunError, match="is held by another process; a run is one process's"):
            RunLock(tmp_path, say=pytest.fail)


def test_the_file_names_this_process_as_long_as_it_holds_the_lock(tmp_path: Path) -> None:
    with run_lock(tmp_path, say=pytest.fail) as held:
        known = json.loads((tmp_path / "run.lock").read_bytes())
        assert (known["host"], known["pid"]) == (socket.gethostname(), os.getpid())
        held.check()
        with pytest.raises(RunError, match=f"is held by process {os.getpid()} on {socket.gethostname()}, since 20"):
            RunLock(tmp_path, say=pytest.fail)
        with (tmp_path / "run.lock").open() as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert (tmp_path / "run.lock").read_bytes() == b""
    with run_lock(tmp_path, say=pytest.fail), (tmp_path / "run.lock").open() as file:
        pass
    with (tmp_path / "run.lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_an_error_lets_go_as_well(tmp_path: Path) -> None:
    with pytest.raises(KeyError), run_lock(tmp_path, say=pytest.fail):
        raise KeyError
    with run_lock(tmp_path, say=pytest.fail):
        pass


def test_a_death_on_this_machine_is_worth_no_word(tmp_path: Path) -> None:
    (tmp_path / "run.lock").write_bytes(Holder(socket.gethostname(), 1, "noon", "x").to_bytes())
    with run_lock(tmp_path, say=pytest.fail):
        pass


def test_where_a_disk_shares_no_locks_the_older_process_stops_and_names_the_newer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(file: object, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    said: list[str] = []
    older = RunLock(tmp_path, say=said.append)
    (line,) = said
    assert line.startswith(f"the disk of {tmp_path} has no locks (No locks available): make sure that no other process")
    older.check()
    monkeypatch.setattr(socket, "gethostname", lambda: "newer")
    newer = RunLock(tmp_path, say=said.append)
    assert f"was held by process {os.getpid()} on " in said[-1]
    with pytest.raises(RunError, match=f"has been taken over by process {os.getpid()} on newer, since"):
        older.check()
    older.release()
    newer.check()
    assert json.loads((tmp_path / "run.lock").read_bytes())["host"] == "newer"
    newer.release()
    assert (tmp_path / "run.lock").read_bytes() == b""


@pytest.mark.parametrize(
    "make",
    [
        lambda path, target: path.symlink_to(target),
        lambda path, target: path.symlink_to(target.with_name("nowhere")),
        lambda path, target: os.mkfifo(path),
        lambda path, target: path.mkdir(),
    ],
)
def test_what_is_no_plain_file_is_left_alone(make: Callable[[Path, Path], None], tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("mine")
    (tmp_path / "run").mkdir()
    make(tmp_path / "run" / "run.lock", target)
    with pytest.raises(RunError, match=r"run\.lock is no plain file; remove it"):
        RunLock(tmp_path / "run", say=pytest.fail)
    assert target.read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=f"cannot write {tmp_path / 'none' / 'run.lock'}"):
        RunLock(tmp_path / "none", say=pytest.fail)


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"[]", b"[" * 900, b"\xff", b"0" * 10_000, b'{"host": "a", "pid": 1, "since": "b"}'),
        *(json.dumps({"host": "a", "pid": 1, "since": "b", "token": "c"} | wrong).encode()
          for wrong in ({"host": 1}, {"pid": "1"}, {"pid": True}, {"since": "\x1b[2J"}, {"x": 1}, {"host": "a" * 999}))
    ],
)  # fmt: skip
def test_what_is_no_name_is_nobody(content: bytes, tmp_path: Path) -> None:
    assert Holder.from_bytes(content) is None
    (tmp_path / "run.lock").write_bytes(content)
    with run_lock(tmp_path, say=pytest.fail) as held:
        held.check()


def test_a_name_is_read_back() -> None:
    holder = Holder.this()
    assert Holder.from_bytes(holder.to_bytes()) == holder
    assert Holder.this().token != holder.token
