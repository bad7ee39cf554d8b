"""Perfect play: BitBully against solved positions where it is installed, the glue to it everywhere."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from alphazero.arena.players import parse_player
from alphazero.game import concatenate
from games import connect_four_solver
from games.connect_four import ConnectFour
from tests.games.connect_four_rules import FULL_BOARDS, ListRules
from tests.positions import played

ROOT = Path(__file__).parents[2]
SOLVED = ROOT / "games" / "data" / "connect_four" / "positions.csv"
LATE = ROOT / "tests" / "data" / "connect_four_late.csv"
GAME = ConnectFour()

Grid = tuple[tuple[int, ...], ...]


@cache
def solved(path: Path) -> list[tuple[str, list[float]]]:
    """Moves, and the score of each column, -inf for a full one."""
    with path.open(newline="") as file:
        return [
            (row["moves"], [float(row[f"score_{column}"] or "-inf") for column in range(1, 8)])
            for row in csv.DictReader(file)
        ]


def grid(moves: str) -> Grid:
    """The position as BitBully reads it: rows from the top, 1 the first player's stones, 2 the second's."""
    rules = ListRules()
    for move in moves:
        rules.play(int(move) - 1)
    marks = {".": 0, "x": 1, "o": 2}
    return tuple(tuple(marks[rules.at(column, row)] for column in range(7)) for row in range(5, -1, -1))


@pytest.fixture
def fresh() -> Iterator[None]:
    """Neither finds a solver that was loaded before nor leaves one behind."""
    connect_four_solver._bitbully.cache_clear()
    yield
    connect_four_solver._bitbully.cache_clear()


@pytest.fixture
def loaded(fresh: None, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A bitbully that knows the solved positions, and what was made of it."""
    known = {grid(moves): scores for moves, scores in solved(LATE)}
    made: list[str] = []

    class Board:
        def __init__(self, rows: list[list[int]]) -> None:
            self.grid = tuple(map(tuple, rows))

    class BitBully:
        def __init__(self) -> None:
            made.append("solver")

        def score_all_moves(self, board: Board) -> dict[int, int]:
            """The best first, full columns left out, as the package does."""
            scores = {column: int(score) for column, score in enumerate(known[board.grid]) if score > -100}
            return dict(sorted(scores.items(), key=lambda item: -item[1]))

    for package in ("bitbully", "bitbully_databases"):
        installed = SimpleNamespace(BitBully=BitBully, Board=Board, __spec__=object())
        monkeypatch.setitem(sys.modules, package, installed)
    return made


def test_asks_for_every_position_as_it_lies(loaded: list[str]) -> None:
    states = concatenate([played(moves) for moves, _ in solved(LATE)])
    expected = torch.tensor([scores for _, scores in solved(LATE)])
    assert {len(moves) % 2 for moves, _ in solved(LATE)} == {0, 1}  # either player is to move
    assert torch.equal(GAME.solve(states), expected)
    assert torch.equal(GAME.solve(states), expected)
    assert loaded == ["solver"]


def test_finished_positions_have_no_scores(loaded: list[str]) -> None:
    moves, scores = solved(LATE)[0]
    finished = [played(moves) for moves, _ in FULL_BOARDS.values()]
    finished.append(played("1212121"))
    answers = GAME.solve(concatenate([*finished, played(moves), *finished]))
    assert answers[3].tolist() == scores
    assert answers[[0, 1, 2, 4, 5, 6]].tolist() == [[-torch.inf] * 7] * 6
    assert GAME.solve(GAME.initial(0)).shape == (0, 7)


def test_the_perfect_player_plays_the_soonest_win_or_the_latest_loss(loaded: list[str]) -> None:
    player = parse_player("perfect", GAME, seed=3)
    chosen = player.actions(concatenate([played(moves) for moves, _ in solved(LATE)])).tolist()
    for column, (moves, scores) in zip(chosen, solved(LATE), strict=True):
        assert scores[column] == max(scores), moves


@pytest.mark.parametrize("missing", ["bitbully", "bitbully_databases"])
def test_says_what_to_install(missing: str, fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package, or without the one that its opening book is in."""
    if missing == "bitbully":
        monkeypatch.setitem(sys.modules, "bitbully", None)
    else:
        pytest.importorskip("bitbully")
        monkeypatch.setitem(sys.modules, "bitbully_databases", None)
    for ask in (lambda: GAME.solve(GAME.initial(0)), lambda: parse_player("perfect", GAME, seed=0)):
        with pytest.raises(ValueError, match=r"bitbully \(licensed under the AGPL\): .* '\.\[perfect\]'"):
            ask()


def test_bitbully_scores_the_solved_positions() -> None:
    """Every tenth of them, of all stages; all of them take ten times as long."""
    pytest.importorskip("bitbully")
    sample = solved(SOLVED)[::10]
    scores = GAME.solve(concatenate([played(moves) for moves, _ in sample]))
    assert torch.equal(scores, torch.tensor([scores for _, scores in sample]))


def test_bitbully_knows_the_first_move() -> None:
    """Only the middle column wins, with the last stone of the first player; those beside it draw.

    J. D. Allen and V. Allis 1988; the scores: https://connect4.gamesolver.org.
    """
    pytest.importorskip("bitbully")
    assert GAME.solve(GAME.initial(1)).tolist() == [[-2, -1, 0, 1, 0, -1, -2]]
