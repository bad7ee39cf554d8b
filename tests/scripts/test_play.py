"""scripts/play.py in a real pseudo-terminal, through a pipe, and with bad input."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pytest

from alphazero.game import Game
from alphazero.network.architectures import inference_module, make_network, to_onnx
from alphazero.runs.agents import export_agent
from alphazero.runs.configuration import make_config
from games.tic_tac_toe import TicTacToe
from games.trebuchet.game import Aiming, Siege
from scripts.play import main
from tests.commands import Finished, call
from tests.training_runs import copy_of_whole

ROOT = Path(__file__).resolve().parents[2]
PLAY = ["scripts/play.py"]
CONNECT_FOUR = "games/data/connect_four/agent.onnx"
WAIT = 60  # seconds; a busy machine needs some to start


class Terminal:
    """A program in a pseudo-terminal, whose output is stripped of control sequences."""

    def __init__(self, *arguments: object, columns: int = 80, rows: int = 50) -> None:
        environment = os.environ | {"TERM": "xterm-256color", "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}
        environment.pop("COLUMNS", None)
        self.process = pexpect.spawn(
            sys.executable, [*PLAY, *map(str, arguments)], cwd=str(ROOT), env=environment, dimensions=(rows, columns),
            encoding="utf-8", timeout=WAIT, echo=False,
        )  # fmt: skip
        self.prompt = "your move: "

    def expect(self, prompt: str = "") -> str:
        """The output up to the prompt."""
        self.process.expect_exact(prompt or self.prompt)
        return plain(self.process.before or "")

    def says(self, line: str, prompt: str = "") -> str:
        """The answer to a typed line."""
        self.process.sendline(line)
        return self.expect(prompt)

    def ends(self, line: str | None = None) -> tuple[str, int]:
        if line is not None:
            self.process.sendline(line)
        self.process.expect(pexpect.EOF)
        self.process.close()
        return plain(self.process.before or ""), self.process.exitstatus


def plain(text: str) -> str:
    text = re.sub(
        r"[^\n]*\x1b\[2K|[^\r\n]*\r(?!\r*\n)", "", text
    )  # what a spinner drew and erased, or was written over
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]", "", text).replace("\r", "")


@contextmanager
def terminal(*arguments: object, columns: int = 80) -> Iterator[Terminal]:
    started = Terminal(*arguments, columns=columns)
    try:
        yield started
    finally:
        if started.process.isalive():
            started.process.kill(signal.SIGKILL)
            started.process.wait()  # on a busy machine it takes its time
        started.process.close()


def piped(typed: str | bytes | None, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The program with a pipe for a terminal; None: an empty one."""
    content = typed.encode() if isinstance(typed, str) else typed or b""
    done = subprocess.run(
        [sys.executable, *PLAY, *map(str, arguments)], input=content, capture_output=True, cwd=ROOT, timeout=WAIT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}, check=False,
    )  # fmt: skip
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of tic-tac-toe that learned next to nothing."""
    return copy_of_whole(tmp_path_factory, "run")


def board(shown: str) -> list[str]:
    """The last board that was shown, the top row first."""
    lines = [line for line in shown.splitlines() if re.fullmatch(r"(?:[123] )?(?:[ \[][xo.][ \]]?)+", line)]
    return [re.sub(r"^[123] | |\[|\]", "", line) for line in lines]


def test_every_command_of_play(tmp_path: Path) -> None:
    with terminal(CONNECT_FOUR, "--second", "human", "--budget", 8) as t:
        shown = t.expect()
        assert "connect_four · the agent is connect_four/agent.onnx" in shown
        assert board(shown) == ["......."] * 6
        assert "move 1 · x to move (human)" in shown
        shown = t.says("4")
        assert board(shown) == [*["......."] * 5, "...x..."]
        assert "[x]" in shown
        assert "move 2 · last move 4 · o to move (human)" in shown
        assert board(t.says("3"))[-1] == "..ox..."
        assert board(t.says("flip"))[-1] == "...xo.."
        assert "no symmetry of connect_four; it has 1" in t.says("flip 2")
        assert t.says("moves").split() == ["45"]
        assert t.says("save").split() == ["45"]
        assert "saved to" in t.says(f"save {tmp_path}/game")
        assert (tmp_path / "game").read_text() == "45\n"
        shown = " ".join(t.says(f"save {tmp_path}/game").split())
        assert shown.endswith("is there already, and stays as it is; name a new file")
        shown = " ".join(t.says(f"save {tmp_path}/none/game").split())
        assert shown.endswith("cannot be written: No such file or directory")
        assert board(t.says("undo"))[-1] == "...x..."
        assert board(t.says("restart")) == ["......."] * 6
        assert "there is no move to take back" in t.says("undo")
        assert board(t.says(f"load {tmp_path}/game"))[-1] == "...xo.."
        assert "is no file to read, nor moves" in t.says(f"load {tmp_path}/other")
        assert "'~nosuchuser/game': Could not determine home" in t.says("load ~nosuchuser/game")
        assert "'~nosuchuser/game'" in t.says("save ~nosuchuser/game")
        assert "is no file to read, nor moves" in t.says("load " + 300 * "12")
        assert board(t.says("load 112233"))[-1] == "xxx...."
        assert "move 7 of '11111111': 1 is not legal here" in " ".join(t.says("load 11111111").split())
        assert "load what?" in t.says("load")
        assert "4 · you can expect a sure win within 1 move · line 4\n" in t.says("hint")
        assert "x to move (human)" in t.says("board")
        shown = t.says("help")
        for command in ("board", "continue", "explore", "flip", "hint", "load", "moves", "opponent", "quit", "resign",
                        "restart", "review", "save", "side", "budget", "swap", "undo"):  # fmt: skip
            assert re.search(rf"^{command}\b", shown, re.MULTILINE), command
        assert "takes back to your last turn" in t.says("help undo")
        assert "there is no command 'castle'" in t.says("help castle")
        assert "'żółw' is no move and no command; legal moves: 1, 2, 3, 4, 5, 6, 7" in " ".join(t.says("żółw").split())
        reviewed = t.says("review")  # with the package that is not required, or without
        assert "became" in reviewed or "needs the package bitbully" in " ".join(reviewed.split())
        assert t.ends("quit") == ("", 0)


def test_every_command_about_the_players_and_the_games_end() -> None:
    with terminal(CONNECT_FOUR, "--second", "human", "--budget", 8, "--moves", 112233) as t:
        t.expect()
        assert t.says("opponent minimax:1") == "x: human · o: minimax:1\n"
        assert "now x: human · o: minimax:1" in t.says("opponent")
        shown = t.says("5")
        assert "o (minimax:1) plays 4" in shown  # it has to stop 1 2 3
        assert "x to move (human)" in shown
        assert board(t.says("undo"))[-1] == "xxx...."  # both its move and mine
        assert "no player is called 'stockfish'" in t.says("opponent stockfish")
        assert "x to move (human)" in t.says("side first")
        assert "say first, second, both or none" in t.says("side third")
        assert "x (minimax:1) plays 4" in t.says("swap", "> ")
        t.says("restart")
        assert "o to move (human)" in t.says("side second")
        assert "o to move (human)" in t.says("side both")
        assert "x to move (human)" in t.says("restart")
        assert "thinks 16 a move" in t.says("budget 16")
        assert "is no search budget" in t.says("budget lots")
        assert "now 16" in t.says("budget")

        t.prompt = "> "
        assert "x resigns: o wins" in t.says("resign")
        assert "the game is over" in t.says("4")
        assert "the game is over" in t.says("hint")
        assert "the game is over already" in t.says("resign")
        assert "the game is over" in t.says("continue")
        assert "x wins after 7 moves" in t.says("load 1212121")
        assert "the game is over" in t.says("1")
        assert "a draw after 42 moves" in t.says("load 121212212121343434434343565656656565777777")
        t.says("resign")
        t.prompt = "your move: "
        assert "o to move" in t.says("undo")
        assert "it is your turn" in t.says("continue")
        assert t.ends("quit") == ("", 0)


def test_garbled_input_says_what_is_legal() -> None:
    garbled = ["8", "0", "44", "1e3", "żółw ☃", "\x1b[A\x1b[B!", "x" * 3000, "!ls", ". .", "\x00", "EOF?", "undo!"]
    lines = ["load 444444", *garbled, "help ?", "", "4", "moves"]
    finished = piped("\n".join(lines), CONNECT_FOUR, "--second", "human")
    assert (finished.returncode, finished.stderr) == (0, "")
    complaint = "is no move and no command; legal moves: 1, 2, 3, 5, 6, 7; `help` lists the commands"
    assert finished.stdout.count(complaint) == len(garbled)
    assert "there is no command '?'" in finished.stdout
    assert "4 is not legal here; legal: 1, 2, 3, 5, 6, 7" in finished.stdout
    assert finished.stdout.rstrip().endswith("> moves\n444444")
    assert "\x1b" not in finished.stdout
    assert max(map(len, finished.stdout.splitlines())) < 3100


def test_every_command_of_the_explorer(trained: Path, tmp_path: Path) -> None:
    with terminal(trained, "--explore", "--budget", 16) as t:
        t.prompt = "explore: "
        shown = t.expect()
        assert "after 16 simulations" in shown
        assert "replay buffer: " in shown
        header = next(line for line in shown.splitlines() if line.startswith("  move  "))
        assert header.split() == ["move", "policy", "visits", "share", "Q", "prior", "net", "Q", "score", "replay"]
        rows = [line[2:].split() for line in shown.splitlines() if re.match(r"[→ ] [abc][123] +\d", line)]
        assert sorted(row[0] for row in rows) == sorted(f"{c}{r}" for c in "abc" for r in "123")
        assert sum(int(row[3]) for row in rows) == 16
        (best,) = re.findall(r"^→ (\S+) is what", shown, re.MULTILINE)
        shown = t.says("do")
        assert f"last move {best}" in shown
        assert "o to move" in shown
        assert "no move to take back" in t.says("undo") + t.says("undo")
        assert "after 32 simulations" in t.says("more")
        assert "after 132 simulations" in t.says("more 100")
        assert "is no number of simulations" in t.says("more x")
        assert "after 16 simulations" in t.says("b2")
        assert "last move a1" in t.says("do a3 a1")
        assert t.says("moves").split() == ["b2", "a3", "a1"]
        shown = t.says("go c1 c2 c3")
        assert "last move c3" in shown
        assert "c1 is not legal here" in t.says("c1")
        assert "last move a3" in t.says("flip")
        assert t.says("moves").split() == ["a1", "a2", "a3"]
        assert "saved to" in t.says(f"save {tmp_path}/line")
        assert "x to move" in t.says("restart")
        assert "last move a3" in t.says(f"load {tmp_path}/line")
        assert "after 8 simulations" in t.says("budget 8")
        assert "say a number of simulations" in t.says("budget 2s")
        assert "the network's policy" in t.says("legend")
        assert "o to move" in t.says("board")
        assert "tic_tac_toe has no perfect player" in t.says("review")
        assert "tic_tac_toe has no perfect player" in t.says("solve")
        assert "x wins after 5 moves" in t.says("go a3 b3 a2 b2 a1")
        assert "the game is over; `undo` takes back" in t.says("do").replace("\n", " ")
        assert "the game is over" in t.says("do")
        assert "the game is over" in t.says("more")
        assert "searches with N simulations more" in t.says("help")
        assert "no move and no command" in t.says("z9")
        assert t.ends("quit") == ("", 0)


def test_the_explorer_opens_within_a_game_and_leaves_it_as_it_was() -> None:
    with terminal(CONNECT_FOUR, "--second", "human", "--budget", 8, "--moves", 44) as t:
        t.expect()
        assert "after 8 simulations" in t.says("explore", "explore: ")
        assert "last move 7" in t.says("7", "explore: ")
        assert "move 3 · last move 4 · x to move (human)" in t.says("quit")
        assert t.says("moves").split() == ["44"]


def test_two_players_can_be_watched_and_stopped() -> None:
    with terminal(CONNECT_FOUR, "--first", "mcts:60000", "--second", "minimax:1") as t:
        t.process.expect_exact("move 1 ")
        time.sleep(1)
        t.process.sendintr()
        t.prompt = "> "
        assert "stopped; `continue` goes on" in t.expect()
        assert "it is mcts:60000's turn" in t.says("4")
        assert "x resigns: o wins" in t.says("resign")
        assert "x to move (mcts:60000) · `continue` lets it move" in t.says("undo")
        assert "mcts" not in t.says("opponent random")
        shown = t.says("continue")
        assert "(random) plays" in shown
        assert re.search(r"wins after \d+ moves|a draw after 42 moves", shown)
        t.process.sendintr()
        assert t.ends()[1] == 0


def test_ctrl_c_ends_the_computation_and_the_game_goes_on() -> None:
    with terminal(CONNECT_FOUR, "--budget", 60000, "--moves", 44) as t:
        t.expect()
        t.process.sendline("hint")
        t.process.expect_exact("thinks")
        t.process.sendintr()
        t.expect()
        assert "is no file to read" in t.says("load x")  # an error leaves no trace either
        t.says("budget 8")
        assert "o (agent:8) plays" in t.says("4")

        t.process.sendline("explore")
        t.expect("explore: ")
        t.process.sendline("more 60000")
        t.process.expect_exact("searching")
        t.process.sendintr()
        assert "stopped; `more` searches on" in t.expect("explore: ")
        assert "after 16 simulations" in t.says("more", "explore: ")
        t.process.sendintr()  # at the prompt it leaves
        assert "x to move (human)" in t.expect()

        t.says("budget 60000")
        t.process.sendline("3")
        t.process.expect_exact("thinks")
        t.process.sendintr()
        t.expect("> ")
        assert "x resigns: o wins" in t.says("resign", "> ")  # the person, though it is the agent's turn
        t.process.sendintr()
        assert t.ends()[1] == 0


def test_a_narrow_window_gets_lines_that_fit(trained: Path) -> None:
    with terminal(trained, "--explore", "--budget", 4, columns=34) as t:
        t.prompt = "explore: "
        shown = t.expect() + t.says("help") + t.says("legend") + t.says("b2") + t.says("nonsense")
        for line in shown.splitlines():
            assert len(line) <= 34, line
        assert "move  policy  visits" in shown


def test_a_pipe_gets_plain_text_and_its_end_ends_the_game() -> None:
    finished = piped("4\n4", CONNECT_FOUR, "--budget", 8)
    assert finished.returncode == 0
    assert "\x1b" not in finished.stdout
    assert finished.stdout.count("o (agent:8) plays") == 2
    assert "> 4" in finished.stdout
    assert piped(None, CONNECT_FOUR).returncode == 0


def test_closed_input_is_the_end_of_input() -> None:
    command = f"{sys.executable} scripts/play.py {CONNECT_FOUR} <&-"
    finished = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert "move 1" in finished.stdout


def test_bytes_that_are_no_text_are_garbled_input_and_no_more() -> None:
    finished = piped(b"\xff\xfe\x80\n4\n", CONNECT_FOUR, "--second", "human")
    assert finished.returncode == 0
    assert "no move and no command" in finished.stdout
    assert "move 2 · last move 4" in finished.stdout


def called(
    typed: str, *arguments: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Finished:
    """`piped`, but within this process, which saves a start."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(typed.encode()), encoding="utf-8"))
    return call(main, *arguments, monkeypatch=monkeypatch, capsys=capsys)


def test_moves_of_one_seed_are_the_same(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (trained, "--first", "random", "--second", "network@1", "--seed")
    in_another_process = piped("moves\n", *arguments, 1).stdout
    watched = [called("moves\n", *arguments, seed, monkeypatch=monkeypatch, capsys=capsys).stdout for seed in (1, 1, 2)]
    assert in_another_process == watched[0] == watched[1] != watched[2]


def test_wrong_arguments_get_one_clear_error(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def complains(finished: Finished | subprocess.CompletedProcess[str], complaint: str) -> None:
        assert finished.returncode == (1 if complaint in unusable else 2), complaint
        assert complaint in finished.stderr
        assert finished.stderr.count("\n") == 1
        assert finished.stderr.startswith("error: ")

    unusable = ("nowhere is not a run", "cannot be read")
    for arguments, complaint in (
        (("nowhere",), "nowhere is not a run"),
        (("none.onnx",), "cannot be read"),
        ((CONNECT_FOUR, "--first", "stockfish"), "no player is called 'stockfish'"),
        ((CONNECT_FOUR, "--budget", "much"), "'much' is no search budget"),
        ((CONNECT_FOUR, "--moves", "48"), "no action is called '8'"),
        ((CONNECT_FOUR, "--second", trained), "plays tic_tac_toe, not connect_four"),
        ((CONNECT_FOUR, "--explore", "--first", "agent"), "--explore takes no players"),
        ((CONNECT_FOUR, "--explore", "--budget", "2s"), "its --budget is a number of simulations"),
        ((CONNECT_FOUR, "--seed", 10**30), "--seed: must be a whole number from 0 to 2^62"),
    ):
        complains(called("", *arguments, monkeypatch=monkeypatch, capsys=capsys), complaint)
    complains(piped("", "nowhere"), "nowhere is not a run")


def export(folder: Path, game: Game, path: str) -> None:
    """An agent that has learned nothing."""
    folder.mkdir(parents=True)
    network = {"kind": "dense", "blocks": 1, "width": 8, "value_head": "scalar"}
    config = make_config({"game": path, "network": network}, source="test")
    module = inference_module(make_network(game, config.network))
    export_agent(folder, game, config, to_onnx(module, game.observation_shape), iteration=0)


def test_the_newest_run_that_can_be_played_is_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for age, (name, game, path) in enumerate(
        (
            ("shots", Aiming(), "games.trebuchet.game:Aiming"),
            ("sieges", Siege(), "games.trebuchet.game:Siege"),
            ("new", TicTacToe(), "games.tic_tac_toe:TicTacToe"),
            ("old", TicTacToe(), "games.tic_tac_toe:TicTacToe"),
        )
    ):
        export(tmp_path / "runs" / name, game, path)
        os.utime(tmp_path / "runs" / name / "agent.onnx", (1e9 - age, 1e9 - age))
    program = [sys.executable, ROOT / "scripts" / "play.py"]
    played = subprocess.run(program, input="quit", cwd=tmp_path, capture_output=True, text=True, check=True)
    shown, _, agent = played.stdout.partition("tic_tac_toe · ")
    reason, command = shown.splitlines()
    assert reason.startswith("runs/shots is newer, but trebuchet has continuous actions, which cannot be typed; aim")
    assert reason.endswith("the shot:")
    assert agent.startswith("the agent is new/agent.onnx, iteration 0")
    # The command is one of a script that is there, with options that it has.
    aimed = subprocess.run(f"{command} --help", shell=True, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "--agent runs/shots --wind 5 --target 100 --save shot.gif" in command
    assert "Aims a trebuchet" in aimed.stdout
    monkeypatch.chdir(tmp_path)
    refused = call(main, "runs/sieges", monkeypatch=monkeypatch, capsys=capsys)
    assert refused.returncode == 2
    assert "trebuchet_siege has continuous actions, which cannot be typed; measure it: " in refused.stderr
    assert refused.stderr.rstrip().endswith("benchmark.py runs/sieges")
    for name in ("new", "old"):
        shutil.rmtree(tmp_path / "runs" / name)
    monkeypatch.setattr(sys, "stdin", io.StringIO("quit\n"))
    included = call(main, monkeypatch=monkeypatch, capsys=capsys).stdout
    assert "connect_four · the agent is connect_four/agent.onnx" in included
