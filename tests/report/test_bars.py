"""Bars beside messages, as a real terminal shows them."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BAR = "━"
START = """
import threading, time
from pathlib import Path
from rich.console import Console
from alphazero.report.monitor import Monitor
console = Console()
monitor = Monitor(Path(__import__("sys").argv[1]), iterations=1000, first_iteration=0, console=console)
"""

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux, a terminal without a screen")


class Terminal:
    """A terminal of 80 columns in which a Python source runs."""

    def __init__(self, folder: Path, source: str) -> None:
        self.tmux = ["tmux", "-S", str(folder / "socket"), "-f", "/dev/null"]
        (folder / "shown.py").write_text(START + source)
        (folder / "conf").write_text("set -g history-limit 50000\nset -g remain-on-exit on\n")
        self.tmux[-1] = str(folder / "conf")
        command = [sys.executable, str(folder / "shown.py"), str(folder / "run")]
        self("new-session", "-d", "-x", "80", "-y", "40", "-c", str(ROOT), "-e", f"PYTHONPATH={ROOT}", *command)

    def __call__(self, *words: str) -> str:
        # Without the size of another terminal, which readline sets for all processes that start then.
        env = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        return subprocess.run([*self.tmux, *words], capture_output=True, text=True, check=True, env=env).stdout

    @property
    def lines(self) -> list[str]:
        """All lines, also those that have left the screen."""
        return self("capture-pane", "-p", "-S", "-50000").splitlines()

    def wait(self, word: str) -> None:
        self.until(lambda: any(word in line for line in self.lines))

    def until(self, holds: Callable[[], bool]) -> None:
        """Waits for it: a screen may be seen in the middle of a change."""
        deadline = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < deadline, f"it never came to this: {self.lines}"
            time.sleep(0.05)

    def resize(self, width: str) -> None:
        """Resizes it while the process stands still: tmux tells it of its new size a quarter of a second late."""
        process = int(self("display-message", "-p", "#{pane_pid}"))
        os.kill(process, signal.SIGSTOP)
        self("resize-window", "-x", width, "-y", "40")
        time.sleep(1)
        os.kill(process, signal.SIGCONT)

    def messages(self) -> list[int]:
        return [int(match[1]) for line in self.lines if (match := re.match(r"message (\d+)", line))]

    def bars(self) -> list[str]:
        return [line for line in self.lines if BAR in line]


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[[str], Terminal]]:
    opened: list[Terminal] = []

    def start(source: str) -> Terminal:
        opened.append(Terminal(tmp_path, source))
        return opened[-1]

    yield start
    for one in opened:
        one("kill-server")


def test_messages_are_whole_and_bars_are_not_left_above_them_while_their_number_changes(
    terminal: Callable[[str], Terminal],
) -> None:
    shown = terminal("""
def say(first):
    for number in range(first, 300, 2):
        monitor.say(f"message {number}")
        time.sleep(0.004)

with monitor:
    threads = [threading.Thread(target=say, args=(first,)) for first in (0, 1)]
    for thread in threads:
        thread.start()
    for iteration in range(60):
        monitor.start(iteration, {f"part {number}": 10 for number in range(1 + iteration % 5)})
        monitor.start_match("a match", 10)
        time.sleep(0.01)
        monitor.end_match("a match")
    for thread in threads:
        thread.join()
print("end")
""")
    shown.wait("end")
    assert sorted(shown.messages()) == list(range(300))
    assert shown.bars() == []


def test_a_terminal_that_becomes_narrower_keeps_messages_and_one_copy_of_the_bars(
    terminal: Callable[[str], Terminal],
) -> None:
    title = "100 games of the network alone against minimax:9"
    shown = terminal(f"""
with monitor:
    monitor.start(0, {{"self-play": 10, "learning": 10}})
    monitor.start_match("{title}", 10)
    for number in range(60):
        monitor.say(f"message {{number}}" + " and more" * (10 * (number % 7 == 0)))
        time.sleep(0.1)
    monitor.say("waiting")
    time.sleep(1000)
""")
    shown.wait("message 3")
    assert shown.bars()[2].startswith(f"100 games of the…ainst minimax:9 {BAR}")
    for width in ("60", "45", "70"):
        shown.resize(width)
        last = max(shown.messages())
        shown.until(lambda last=last: max(shown.messages()) >= last + 5)  # it has been drawn anew
        shown.until(lambda: [line[:4] for line in shown.bars()] == ["self", "lear", "100 ", "run "])
    shown.wait("waiting")
    assert shown.messages() == list(range(60))
