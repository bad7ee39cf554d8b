"""scripts/check.py on sound games, broken ones and bad input."""

from __future__ import annotations

import re
import sys

import pexpect
import pytest
import torch
from torch import Tensor

from games.tic_tac_toe import TicTacToe, TicTacToeState
from scripts.check import main
from tests.commands import Command
from tests.training_runs import ROOT

TIC_TAC_TOE = "games.tic_tac_toe:TicTacToe"


class Unturned(TicTacToe):
    """Shows x first, whoever moves."""

    def observe(self, state: TicTacToeState) -> Tensor:
        planes = super().observe(state)
        return torch.where(state.turn[:, None, None, None] == 0, planes, planes.flip(1))


@pytest.mark.parametrize("game", [(TIC_TAC_TOE,), ("--game", TIC_TAC_TOE)])
def test_a_sound_game_gets_a_summary_within_80_columns(command: Command, game: tuple[str, ...]) -> None:
    finished = command(main, *game, "--games", 50)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout.startswith("tic_tac_toe keeps every promise that 50 random games can show.\n\n  players ")
    assert max(map(len, finished.stdout.splitlines())) <= 80
    labels = re.findall(r"^  (\S+(?: \S+)?)", finished.stdout, re.MULTILINE)
    assert [label for label in labels if not label.startswith(" ")] == [
        *("players", "wins", "last move", "rewards", "length", "legal moves", "observation", "speed"),
        *("symmetries", "key", "solver", "heuristic"),
    ]  # fmt: skip


def test_the_seed_chooses_the_games(command: Command) -> None:
    def wins(seed: int) -> str:
        said = command(main, TIC_TAC_TOE, "--seed", seed).stdout
        return said.partition("  wins")[2].partition("\n")[0]

    assert wins(1) == wins(1)
    assert len({wins(seed) for seed in range(4)}) > 1


def test_a_broken_game_is_named_with_the_position(command: Command) -> None:
    finished = command(main, "tests.scripts.test_check:Unturned")
    assert (finished.returncode, finished.stdout) == (1, "")
    first, *board = finished.stderr.splitlines()
    assert first.startswith("error: observe: must show the position as the player to move sees it")
    assert board[-1] == "  a b c"


def test_bad_input_gets_one_clear_error(command: Command) -> None:
    for arguments, complaint in (
        ((), f"name one game, such as {TIC_TAC_TOE}"),
        ((TIC_TAC_TOE, "--game", TIC_TAC_TOE), "name one game"),
        (("tic_tac_toe",), "write it as package.module:Class"),
        (("games.tic_tac_toe:Tic",), "it offers TicTacToe"),
        (("no.such:Game",), "cannot import 'no.such'"),
        ((TIC_TAC_TOE, "--games", 0), "--games: must be a whole number from 1 to 1,000,000, not 0"),
        ((TIC_TAC_TOE, "--seed", -1), "--seed: must be a whole number"),
    ):
        finished = command(main, *arguments)
        assert finished.returncode == 2
        assert finished.stderr.startswith("error: ")
        assert complaint in finished.stderr
        assert finished.stderr.count("\n") == 1
        assert finished.stdout == ""


def test_a_terminal_sees_progress_and_then_the_summary_alone() -> None:
    command = [str(ROOT / "scripts" / "check.py"), "games.connect_four:ConnectFour"]
    terminal = pexpect.spawn(sys.executable, command, dimensions=(40, 80), timeout=120, encoding="utf-8")
    terminal.expect("playing random games")
    terminal.expect("checking the promises")
    terminal.expect("connect_four keeps every promise")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0
