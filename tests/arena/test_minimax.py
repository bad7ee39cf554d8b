"""Minimax, against the textbook, perfect solvers, and pictures."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import alphazero.arena.minimax
from alphazero.arena.match import play_match
from alphazero.arena.minimax import at_once, minimax
from alphazero.arena.players import MinimaxPlayer, RandomPlayer
from alphazero.game import Game, State, Transition, concatenate
from games.connect_four import BOARD, COLUMNS, DIRECTIONS, HEIGHT, ROWS, ConnectFour, ConnectFourState
from games.tic_tac_toe import TicTacToe, TicTacToeState
from tests.positions import CHOICES, CONNECT_FOUR, LAST, Web, WebState, after, board, random_positions


def best(game: Game, state: State, depth: int) -> set[int]:
    scores = minimax(game, state, depth=depth)[0]
    return set((scores == scores.max()).nonzero()[:, 0].tolist())


# ------------------------------------------------- minimax against the textbook, position by position


class Textbook:
    """Connect-four minimax in plain Python, one position at a time.

    A value comes with the plies until the game ends (at the horizon: the plies looked ahead).
    Values decide; among wins the fewest plies, among losses the most.
    """

    def __init__(self, positions: list[tuple[int, int]], depth: int) -> None:
        self.guess: dict[tuple[int, int], float] = {}
        for mine, theirs in positions:  # once for what is on the horizon, to ask the game in one go
            self.outcomes(mine, theirs, depth)
        mine_and_theirs = torch.tensor(list(self.guess)).T
        horizon = CONNECT_FOUR.initial(len(self.guess))._replace(mine=mine_and_theirs[0], theirs=mine_and_theirs[1])
        self.guess = dict(zip(self.guess, CONNECT_FOUR.heuristic(horizon).tolist(), strict=True))
        self.answers = [self.outcomes(mine, theirs, depth) for mine, theirs in positions]

    @staticmethod
    def preference(outcome: tuple[float, int]) -> tuple[float, float]:
        value, plies = outcome
        return value, -math.copysign(plies, value) if value else 0

    def outcomes(self, mine: int, theirs: int, depth: int) -> dict[int, tuple[float, int]]:
        """The outcome of each legal move, for the player to move."""
        found = {}
        stones = mine | theirs
        for column in range(COLUMNS):
            cell = (stones + (1 << HEIGHT * column)) & ((1 << ROWS) - 1) << HEIGHT * column
            moved = mine | cell
            if not cell:
                continue
            if any(moved & moved >> s & moved >> 2 * s & moved >> 3 * s for s in DIRECTIONS):
                found[column] = (1.0, 1)
            elif stones | cell == BOARD:
                found[column] = (0.0, 1)
            elif depth == 1:
                found[column] = (-self.guess.setdefault((theirs, moved), 0.0), 1)
            else:
                value, plies = max(self.outcomes(theirs, moved, depth - 1).values(), key=self.preference)
                found[column] = (-value, plies + 1)
        return found


@pytest.mark.parametrize(("depth", "count"), [(1, 500), (2, 500), (3, 500), (4, 500), (5, 150)])
def test_minimax_is_the_textbooks(depth: int, count: int) -> None:
    states = random_positions(CONNECT_FOUR, count, plies=38, seed=depth)
    textbook = Textbook(list(zip(states.mine.tolist(), states.theirs.tolist(), strict=True)), depth)
    scores = minimax(CONNECT_FOUR, states, depth=depth)
    for row, outcomes in zip(scores, textbook.answers, strict=True):
        values = [outcomes[column][0] if column in outcomes else -math.inf for column in range(COLUMNS)]
        assert row.float().tolist() == values
        most = max(map(Textbook.preference, outcomes.values()))
        expected = {column for column, outcome in outcomes.items() if Textbook.preference(outcome) == most}
        assert set((row == row.max()).nonzero()[:, 0].tolist()) == expected


# ---------------------------------------------------------------- minimax against perfect solvers


def test_minimax_to_the_end_agrees_with_the_solvers() -> None:
    """Scores of two perfect solvers, larger for a sooner win and a later loss: the same order."""
    with (Path(__file__).parents[1] / "data" / "connect_four_late.csv").open() as file:
        rows = list(csv.DictReader(file))
    states = concatenate([after(row["moves"]) for row in rows])
    solved = torch.tensor([[float(row[f"score_{c}"] or "-inf") for c in range(1, COLUMNS + 1)] for row in rows])
    scores = minimax(CONNECT_FOUR, states, depth=BOARD.bit_count() - min(len(row["moves"]) for row in rows))
    assert scores.float().equal(solved.sign().where(solved.isfinite(), solved))
    assert (scores[:, :, None] > scores[:, None, :]).equal(solved[:, :, None] > solved[:, None, :])


def test_minimax_never_loses_at_tic_tac_toe() -> None:
    game = TicTacToe()
    perfect, other = MinimaxPlayer(game, 9, seed=1), MinimaxPlayer(game, 9, seed=2)
    among_equals = play_match(game, perfect, other, games=20, seed=1, opening_plies=0)
    assert among_equals.total.draws == 20
    against_random = play_match(game, perfect, RandomPlayer(game, 3), games=400, seed=2, opening_plies=0)
    assert against_random.total.losses == 0
    assert against_random.total.wins > 200


def test_tic_tac_toe_openings_have_the_values_everyone_knows() -> None:
    """No first move wins. The corner must be answered in the centre, the centre in a corner."""
    game = TicTacToe()
    start = game.initial(1)
    assert (minimax(game, start, depth=9) == 0).all()
    corner, centre = (game.step(start, torch.tensor([cell])).state for cell in (0, 4))
    assert best(game, corner, 8) == {4}
    assert best(game, centre, 8) == {0, 2, 6, 8}


# -------------------------------------------------------------------------------------- pictures


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_minimax_wins_in_one(depth: int) -> None:
    """Longer ways to win are there too; it takes the one that ends the game."""
    position = board("""
        . . . . . . .
        . . . . . . .
        . . . . . . .
        . . . o . . .
        . . . o . . .
        . x x x o . .""")
    assert best(CONNECT_FOUR, position, depth) == {0}


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_minimax_blocks_in_one(depth: int) -> None:
    position = board(
        """
        . . . . . . .
        . . . . . . .
        . . . . . . .
        . . . . . . .
        . x o . . . .
        . o x x x . .""",
        reachable=False,
    )
    assert best(CONNECT_FOUR, position, depth) == {5}


def test_minimax_sees_the_double_threat() -> None:
    position = board("""
        . . . . . . .
        . . . . . . .
        . . . . . . .
        . . . . . . .
        . . . o . . .
        . . . x x . o""")
    scores = minimax(CONNECT_FOUR, position, depth=3)[0]
    assert best(CONNECT_FOUR, position, 3) == {2}
    assert scores[2].float() == 1


def test_minimax_puts_a_loss_off() -> None:
    """o blocks the column although x then opens the bottom row at both ends."""
    position = board("""
        . . . . . . .
        . . . . . . .
        . . . . . . .
        . . . x . . .
        . . o x . . .
        o . x x . . o""")
    scores = minimax(CONNECT_FOUR, position, depth=4)[0]
    assert (scores.float() == -1).all()
    assert best(CONNECT_FOUR, position, 4) == {3}


class Counting(TicTacToe):
    """Remembers how many children were made at once."""

    def __init__(self) -> None:
        self.made: list[int] = []

    def step(self, state: TicTacToeState, action: Tensor) -> Transition[TicTacToeState]:
        self.made.append(len(action))
        return super().step(state, action)


def test_memory_bounds_the_children_and_changes_no_score(monkeypatch: pytest.MonkeyPatch) -> None:
    game, whole = Counting(), TicTacToe()
    states = game.initial(3)
    expected = minimax(whole, states, depth=5)
    assert at_once(whole, states) == 1 << 14
    child = 2 + 2 + 1 + 1 + 64  # mine, theirs, turn and done, and the numbers about an edge
    for children in (100, 1):
        monkeypatch.setattr(alphazero.arena.minimax, "MEMORY", children * child)
        game.made.clear()
        assert torch.equal(minimax(game, states, depth=5), expected)
        assert max(game.made) <= max(9, children)  # one state's nine at the least


# -------------------------------------------------- signs, discount, moves in a row, games for one


@pytest.mark.parametrize("players", [1, 2])
@pytest.mark.parametrize("keys", [True, False])
@pytest.mark.parametrize("frontier", [1, 5, 1 << 14])
def test_minimax_follows_rewards_discount_and_turns(
    players: int, keys: bool, frontier: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alphazero.arena.minimax, "FRONTIER", frontier)
    web = Web(seed=players, players=players, keys=keys)
    nodes = torch.arange(0, LAST, 25)
    scores = minimax(web, WebState(nodes), depth=4)
    for node, row in zip(nodes.tolist(), scores, strict=True):
        for action in range(CHOICES):
            if web.allowed[node, action]:
                # The shrink takes at most depth * SHRINK of the rewards, which add up to less than 2.
                assert float(row[action]) == pytest.approx(web.plain_score(node, action, 4), rel=0, abs=8 * 2**-40)
            else:
                assert row[action] == -math.inf


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 6), max_size=25), st.integers(1, 40))
def test_minimax_of_a_position_does_not_depend_on_its_neighbours(choices: list[int], frontier: int) -> None:
    """Alone, among others, merged with them or split from them: the same scores to the last bit."""
    state = CONNECT_FOUR.initial(1)
    for choice in choices:
        legal = CONNECT_FOUR.legal(state)[0].nonzero()[:, 0]
        successor, _, done = CONNECT_FOUR.step(state, legal[choice % len(legal)][None])
        if not done:
            state = successor
    alone = minimax(CONNECT_FOUR, state, depth=3)
    others = random_positions(CONNECT_FOUR, 6, plies=25, seed=frontier)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alphazero.arena.minimax, "FRONTIER", frontier)
        together = minimax(CONNECT_FOUR, concatenate((others, state, others)), depth=3)
    assert together[6].equal(alone[0])


@pytest.mark.parametrize("players", [1, 2])
@pytest.mark.parametrize("keys", [True, False])
@pytest.mark.parametrize("frontier", [7, 1 << 14])
def test_pruning_keeps_the_best_actions_and_their_value(
    players: int, keys: bool, frontier: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alphazero.arena.minimax, "FRONTIER", frontier)
    web = Web(seed=players, players=players, keys=keys)
    states = WebState(torch.arange(0, LAST, 5))
    exact = minimax(web, states, depth=5)
    monkeypatch.setattr(alphazero.arena.minimax, "WORTH_PRUNING", 1)
    assert_the_best_are_the_same(minimax(web, states, depth=5, best_only=True), exact)


@pytest.mark.parametrize("depth", [2, 5])
def test_pruning_keeps_equals_in_connect_four(depth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    states = random_positions(CONNECT_FOUR, 60, plies=30, seed=depth)
    exact = minimax(CONNECT_FOUR, states, depth=depth)
    assert ((exact == exact.amax(1, keepdim=True)).sum(1) > 1).sum() > 10  # equals are not rare
    asked = 0
    heuristic = ConnectFour.heuristic

    def counted(game: ConnectFour, states: ConnectFourState) -> Tensor:
        nonlocal asked
        asked += len(states.mine)
        return heuristic(game, states)

    monkeypatch.setattr(ConnectFour, "heuristic", counted)
    minimax(CONNECT_FOUR, states, depth=depth)
    without, asked = asked, 0
    monkeypatch.setattr(alphazero.arena.minimax, "WORTH_PRUNING", 1)
    assert_the_best_are_the_same(minimax(CONNECT_FOUR, states, depth=depth, best_only=True), exact)
    assert asked < without / 2 or depth == 2  # at depth 2 ordering asks about as many states as it saves


def assert_the_best_are_the_same(pruned: Tensor, exact: Tensor) -> None:
    best = exact.amax(1, keepdim=True)
    torch.testing.assert_close(pruned.amax(1, keepdim=True), best, rtol=0, atol=0)
    torch.testing.assert_close(pruned == best, exact == best)
