"""The README's commands, each of them, from top to bottom in a fresh folder, as a newcomer runs them in a terminal."""

from __future__ import annotations

import io
import os
import re
import signal
import sys
from pathlib import Path

import pexpect
import pytest

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = [
    line.partition("  #")[0].strip()
    for block in re.findall(r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    for line in block.splitlines()
]
LONG = {  # what shortens a command that takes minutes; the first that fits
    "trebuchet.toml": "--iterations 1 --evaluation.games 2",
    "make train": "--iterations 1 --self_play.parallel_games 16 --self_play.moves 8 --learner.batch_size 32 "
    "--evaluation.games 2 --evaluation.opponents random --evaluation.simulations 2",
}
INTERRUPTED = {"scripts/discover.py": "trajectories of"}  # takes too long here: Ctrl-C once this is shown
ANSWERS = {"make play": ("your move", "help", "quit")}  # what to wait for, and what to type then


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all of the repository but its runs; linked, so that compiled code is there."""
    folder = tmp_path_factory.mktemp("fresh")
    for path in (*ROOT.glob("[a-z]*"), *ROOT.glob("[A-Z]*"), ROOT / ".venv"):
        if path.name != "runs":
            (folder / path.name).symlink_to(path)
    return folder


def shortened(command: str) -> str:
    command = command.replace("MINUTES=10", "MINUTES=0.4")  # which counts more than --iterations
    for start, options in LONG.items():
        if start in command:
            if "make" not in command:
                return f"{command} {options}"
            given = re.search(r' ARGS="(.*)"', command)
            return re.sub(r' ARGS=".*"', "", command) + f' ARGS="{given[1] if given else ""} {options}"'
    return command


def set_up() -> bool:
    """Whether make finds nothing to set up; otherwise it would install the fresh folder in place of the repository."""
    stamp = Path(sys.prefix) / ".set-up"
    sources = [ROOT / "pyproject.toml", ROOT / "constraints.txt"]
    return stamp.is_file() and all(stamp.stat().st_mtime > source.stat().st_mtime for source in sources)


def test_there_are_commands() -> None:
    assert COMMANDS[:2] == ["make train", "make test"]
    assert len(COMMANDS) >= 6


@pytest.mark.skipif(not set_up(), reason="make would set this environment up anew")
@pytest.mark.parametrize("command", [command for command in COMMANDS if command != "make test"])  # which runs this
def test_a_command_of_the_readme_does_what_it_says(command: str, fresh: Path) -> None:
    # Of `make test ARGS=...`, which make hands on to every make within.
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "ARGS")}
    terminal = pexpect.spawn(
        "/bin/sh", ["-c", shortened(command)], cwd=str(fresh), dimensions=(40, 80), encoding="utf-8", timeout=240,
        env=environment,
    )  # fmt: skip
    terminal.logfile_read = shown = io.StringIO()
    interrupted = [sign for script, sign in INTERRUPTED.items() if script in command]
    try:
        if command in ANSWERS:
            awaited, *answers = ANSWERS[command]
            for answer in answers:
                terminal.expect(awaited)
                terminal.sendline(answer)
        for sign in interrupted:
            terminal.expect(sign)
            terminal.sendintr()
        terminal.expect(pexpect.EOF)
    except pexpect.ExceptionPexpect as error:
        pytest.fail(f"{type(error).__name__}: {shown.getvalue()}")
    terminal.close()
    # Ctrl-C goes to the shell around the script as well, which ends by it.
    ended = {130, signal.SIGINT} if interrupted else {0}
    assert terminal.exitstatus in ended or terminal.signalstatus in ended, shown.getvalue()
    assert "Traceback" not in shown
