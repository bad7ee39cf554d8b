"""Whatever ends a process, its private folder goes, and the processes that write there; and somebody says so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from alphazero.parallel.ray_remains import private_folder
from tests.parallel.executor_tasks import is_alive, wait_until
from tests.training_runs import ROOT

# A process with a folder, and a daemon that writes there. It says where and who, and waits for its end.
OWNER = """
import os, subprocess, sys
from contextlib import ExitStack
from pathlib import Path
from alphazero.parallel.ray_remains import last_words, private_folder
with ExitStack() as stack:
    folder = stack.enter_context(private_folder(Path(sys.argv[1])))
    if "watched" in sys.argv:
        stack.enter_context(last_words("the last words [/b]", folder))
    log = (folder / "log").open("w")
    daemon = subprocess.Popen(["sleep", "1000"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    print(folder, daemon.pid, flush=True)
    exec(sys.stdin.readline())
    daemon.kill()
"""


class Owner:
    def __init__(self, base: Path, *words: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWNER, str(base), *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip
        assert self.process.stdout
        folder, daemon = self.process.stdout.readline().split()
        self.folder, self.daemon = Path(folder), psutil.Process(int(daemon))

    def end(self, how: str) -> str:
        """What it and those who look on have said on stderr, when all have ended."""
        return self.process.communicate(f"{how}\n")[1]

    def left(self) -> bool:
        return self.folder.exists() or is_alive(self.daemon)


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Owner]:
    owner = Owner(tmp_path)
    yield owner
    owner.end("")


@pytest.mark.parametrize(
    ("how", "code", "said"),
    [
        ("os._exit(1)", 1, "the last words [/b]"),  # as Ray does
        ("os.abort()", -signal.SIGABRT, "the last words [/b]"),
        ("os.kill(os.getpid(), 9)", -signal.SIGKILL, "the last words [/b]"),
        ("pass", 0, ""),
        ("sys.exit(3)", 3, ""),
    ],
)
def test_a_process_that_ends_without_a_word_gets_its_last_ones_and_leaves_nothing(
    how: str, code: int, said: str, tmp_path: Path
) -> None:
    owner = Owner(tmp_path, "watched")
    assert owner.left()
    assert owner.end(how).strip() == said
    assert owner.process.returncode == code
    assert not owner.left()
    assert not list(tmp_path.iterdir())


def test_ctrl_c_does_not_reach_who_looks_on(tmp_path: Path) -> None:
    owner = Owner(tmp_path, "watched")
    (onlooker,) = (one for one in psutil.Process(owner.process.pid).children() if one.pid != owner.daemon.pid)
    assert os.getsid(onlooker.pid) == onlooker.pid
    assert owner.end("pass") == ""
    assert not onlooker.is_running()


def test_the_next_folder_takes_the_place_of_those_whose_owners_have_died(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    owner.end("os._exit(1)")
    assert owner.left()
    with private_folder(tmp_path) as mine:
        assert not owner.left()
        assert [*tmp_path.iterdir()] == [mine]
        assert mine.stat().st_mode & 0o777 == 0o700


def test_a_folder_whose_owner_lives_stays_and_so_does_what_is_no_such_folder(owner: Owner, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "owner").touch()
    (tmp_path / "az-link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "az-folder").mkdir()  # somebody's, who has no owner's file
    (tmp_path / "az-file").touch()
    with private_folder(tmp_path), private_folder(tmp_path):
        assert owner.left()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [owner.folder.name, "elsewhere", "az-link", "az-folder", "az-file"]
    )
    assert (tmp_path / "elsewhere" / "owner").exists()
    assert owner.daemon.is_running()


def test_an_owner_that_is_about_to_end_is_left_alone(tmp_path: Path) -> None:
    owner = Owner(tmp_path)  # it writes there as well, and waits for its daemon
    assert owner.process.stdin
    owner.process.stdin.write("sys.exit(3)\n")
    owner.process.stdin.flush()
    while owner.process.poll() is None:
        with private_folder(tmp_path):
            pass
    owner.end("")
    assert owner.process.returncode == 3
    assert not owner.left()


def test_a_daemon_that_has_not_opened_its_log_yet_ends_too(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    starting = "import time; time.sleep(1000)"
    late = subprocess.Popen([sys.executable, "-c", starting, f"--logs-dir={owner.folder / 'session' / 'logs'}"])
    other = subprocess.Popen([sys.executable, "-c", starting, f"--logs-dir={owner.folder}2"])
    try:
        owner.end("os._exit(1)")
        with private_folder(tmp_path):
            assert late.poll() is not None
            assert other.poll() is None
    finally:
        for process in (late, other):
            process.kill()
            process.wait()


def test_who_only_reads_in_a_folder_is_left_alone(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    reader = subprocess.Popen(["tail", "-f", str(owner.folder / "log")])
    try:
        wait_until(lambda: any(file.path.endswith("log") for file in psutil.Process(reader.pid).open_files()))
        owner.end("os._exit(1)")
        with private_folder(tmp_path):
            assert not owner.left()
            assert reader.poll() is None
    finally:
        reader.kill()
        reader.wait()
