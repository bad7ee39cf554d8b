"""Proofs in the tree against exhaustive play, a solver's scores and the stub games' known values."""

from __future__ import annotations

import csv
from dataclasses import replace

import pytest
import torch

from alphazero.config import SearchConfig
from alphazero.game import ILLEGAL, Discrete, Game, PythonGame, State, as_game, concatenate, take
from alphazero.mcts.evaluator import Evaluation, UniformEvaluator
from alphazero.mcts.search import search, search_trees
from alphazero.mcts.solver import eligible, root_edge_bounds, tighten
from alphazero.mcts.timed import search_by_clock
from alphazero.mcts.tree import Tree, make_tree
from alphazero.mcts.tree_search import TreeSearch
from games.connect_four import ConnectFour
from games.tic_tac_toe import TicTacToe
from tests.evaluators import CountingEvaluator, ScrambledEvaluator
from tests.mcts.test_endgames import ALGORITHMS, LATE, exact, late_tic_tac_toe
from tests.positions import played, tic_tac_toe_board
from tests.stubs import Again, AgainState, Mine, MineState, WaitingState

PROVE = SearchConfig(simulations=600, solver=True).without_noise()


def grown(game: Game, roots: State, config: SearchConfig, *, salt: int = 0) -> TreeSearch:
    """The trees of a search with an evaluator that knows nothing."""
    scrambles = isinstance(game, ConnectFour | TicTacToe)
    evaluator = ScrambledEvaluator(game, salt=salt) if scrambles else UniformEvaluator(game)
    return search_trees(evaluator, game, roots, config, torch.Generator())


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("simulations", [8, 64, 600])
def test_what_is_proven_of_tic_tac_toe_is_true(simulations: int, algorithm: str) -> None:
    game, positions = TicTacToe(), late_tic_tac_toe()
    result = grown(game, positions, replace(PROVE, algorithm=algorithm, simulations=simulations)).result()
    boards = list(zip(positions.mine.tolist(), positions.theirs.tolist(), strict=True))
    values = torch.tensor([exact(*board) for board in boards], dtype=torch.float32)
    assert torch.equal(result.value[result.proven], values[result.proven])
    kept = [-exact(theirs, mine | 1 << int(a)) for (mine, theirs), a in zip(boards, result.action, strict=True)]
    assert torch.equal(torch.tensor(kept)[result.proven], values[result.proven].long())
    assert result.proven.float().mean() > {8: 0.2, 64: 0.8, 600: 0.9}[simulations]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_bounds_hold_in_every_node_of_the_tree(algorithm: str) -> None:
    """Most of them are not proven yet: then the exact value lies between them."""
    game, positions = TicTacToe(), late_tic_tac_toe()
    trees = grown(game, positions, replace(PROVE, algorithm=algorithm, simulations=24)).tree
    bounds = trees.bounds
    assert bounds is not None
    seen = set()
    for row in range(0, trees.batch, 7):
        for node in range(1 + int(trees.children[row].max())):
            place = node * trees.batch + row
            value = exact(int(trees.states.mine[place]), int(trees.states.theirs[place]))
            # At a finished node, all reward is that of the edge before it.
            value *= not bool(trees.states.done[place])
            low, high = float(bounds.low[row, node]), float(bounds.high[row, node])
            assert low <= value <= high
            assert bool(trees.finished[row, node]) == (low == high)
            assert low <= float(trees.value[row, node]) <= high or not trees.visits[row, node].any()
            seen.add((low, high))
    assert seen >= {(-1, 1), (-1, 0), (0, 1), (0, 0), (1, 1), (-1, -1)}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_proven_connect_four_is_what_its_solver_says_and_no_win_is_claimed_too_soon(algorithm: str) -> None:
    with LATE.open(newline="") as file:
        rows = list(csv.DictReader(file))
    game, positions = ConnectFour(), concatenate([played(row["moves"]) for row in rows])
    result = grown(game, positions, replace(PROVE, algorithm=algorithm, simulations=2000)).result()
    assert int(result.proven.sum()) > len(rows) / 2
    for number in result.proven.nonzero()[:, 0].tolist():
        scores = {int(n[-1]) - 1: int(text) for n, text in rows[number].items() if n != "moves" and text}
        best, stones = max(scores.values()), len(rows[number]["moves"])
        assert (float(result.value[number]) > 0, float(result.value[number]) < 0) == (best > 0, best < 0)
        assert (scores[int(result.action[number])] > 0, scores[int(result.action[number])] < 0) == (best > 0, best < 0)
        # A score is 22 less the winner's stones at the end (Pons). The proof is of a line, perhaps not the shortest.
        winner = 22 - abs(best)
        plies = 2 * (winner - stones // 2) - 1 if best > 0 else 2 * (winner - (stones + 1) // 2)
        if best == 0:
            plies = 42 - stones
        assert int(result.plies[number]) >= plies
        assert (int(result.plies[number]) - plies) % 2 == 0


def test_the_soonest_win_and_the_latest_loss_are_chosen() -> None:
    game = TicTacToe()
    wins = tic_tac_toe_board("x x . / o o . / . . .")  # in one move, or in three
    loses = tic_tac_toe_board("o . . / . x x / o . o")  # two threats
    for algorithm in ALGORITHMS:
        config = replace(PROVE, algorithm=algorithm, simulations=400)
        won, lost = (grown(game, root, config).result() for root in (wins, loses))
        assert (int(won.action[0]), int(won.plies[0]), float(won.value[0])) == (2, 1, 1.0)
        assert won.policy[0].tolist() == pytest.approx([0, 0, 1, 0, 0, 0, 0, 0, 0])
        assert bool(lost.proven[0])
        assert int(lost.plies[0]) in (1, 2)
        assert float(lost.policy[0].sum()) == pytest.approx(1)


def star(edges: list[tuple[float, float, int]]) -> Tree:
    """A root whose edges lead to nodes of another player with these bounds and plies; a last one is not visited."""
    count = len(edges)
    logits = torch.zeros(1, count + 1)
    root = WaitingState(torch.zeros(1, dtype=torch.int8), torch.zeros(1, dtype=torch.bool))
    tree = make_tree(root, Evaluation(logits, torch.zeros(1)), logits, count + 1, bounded=True)
    tree.children[0, 0, :count] = torch.arange(1, count + 1)
    tree.discount[0, 1:] = -1.0
    assert tree.bounds is not None
    for field, of_edges in zip(tree.bounds, zip(*edges, strict=True), strict=True):
        field[0, 1:] = torch.tensor(of_edges)
    tree.finished[0, 1:] = tree.bounds.low[0, 1:] == tree.bounds.high[0, 1:]
    return tree


def test_bounds_by_hand() -> None:
    """What the opponent has at least, the player has at most; the soonest win counts, and the latest other end."""
    lost, drawn, won, open_ = (1, 1), (0, 0), (-1, -1), (-1, 1)
    root = torch.zeros(1, dtype=torch.int64)

    def tightened(*edges: tuple[float, float, int], unvisited: bool = False) -> tuple[float, float, int, list[int]]:
        tree = star(list(edges))
        if not unvisited:
            tree.logits[:, 0, -1] = ILLEGAL
        assert tree.bounds is not None
        low, high = tighten(tree, tree.bounds, root)
        chosen = eligible(tree, tree.bounds)[0].nonzero()[:, 0].tolist()
        assert bool(tree.finished[0, 0]) == bool(low == high)
        return float(low), float(high), int(tree.bounds.plies[0, 0]), chosen

    assert tightened((*won, 5), (*won, 3), (*lost, 2), (*won, 3)) == (1, 1, 4, [1, 3])
    assert tightened((*won, 5), (*open_, 0), unvisited=True) == (1, 1, 6, [0])
    assert tightened((*lost, 2), (*lost, 4), (*lost, 2)) == (-1, -1, 5, [1])
    assert tightened((*drawn, 2), (*drawn, 4), (*lost, 6)) == (0, 0, 5, [1])
    assert tightened((*drawn, 2), (0, 1, 0), (*lost, 6)) == (0, 0, 3, [0])
    # Nothing is proven: a loss is out where there is anything else; a draw is not, unless another is at least a draw.
    assert tightened((*lost, 2), (*open_, 0), unvisited=True) == (-1, 1, 0, [1, 2])
    assert tightened((*lost, 2), (*drawn, 3), unvisited=True) == (0, 1, 0, [1, 2])
    assert tightened((*drawn, 3), (-1, 0, 0), (0, 1, 0), unvisited=True) == (0, 1, 0, [1, 3])


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_players_who_move_twice(algorithm: str) -> None:
    game, piles = Again(), torch.arange(1, 9)
    roots = AgainState(piles.repeat(2), torch.arange(2, dtype=torch.int8).repeat_interleave(8))
    result = grown(game, roots, replace(PROVE, algorithm=algorithm)).result()
    assert result.proven.all()
    assert torch.equal(result.value, game.optimal_value(roots))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_rewards_on_the_way_and_a_discount(algorithm: str) -> None:
    game, depth = Mine(), torch.arange(2, Mine.bottom)
    roots = MineState(depth, torch.zeros_like(depth, dtype=torch.bool))
    config = replace(PROVE, algorithm=algorithm, c_visit=1, c_scale=0.05, c_init=3)
    result = grown(game, roots, config).result()
    assert result.proven.all()
    torch.testing.assert_close(result.value, game.optimal_value(roots))
    assert result.plies.tolist() == (Mine.bottom - depth).tolist()


class Rounds(PythonGame[int]):
    """For one: in each of four rounds action 1 earns a part of 1 in all, and action 2 nothing; action 0 is illegal."""

    name, num_players = "rounds", 1
    actions = Discrete(3)
    observation_shape = (1,)

    max_moves = 4

    def __init__(self, parts: tuple[float, ...]) -> None:
        self.parts = parts

    def initial(self) -> int:
        return 0

    def legal_actions(self, position: int) -> list[int]:
        return [1, 2]

    def play(self, position: int, action: int) -> int:
        return position + 1

    def finished(self, position: int) -> bool:
        return position == 4

    def reward(self, position: int, action: int, successor: int) -> float:
        return self.parts[position] if action == 1 else 0.0

    def observe(self, position: int) -> list[float]:
        return [position / 4]


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("parts", [(0.25, 0.25, 0.25, 0.25), (0.2, 0.1, 0.3, 0.4)])
def test_where_rewards_reach_the_most_there_is_the_line_is_still_played_to_its_end(
    parts: tuple[float, ...], algorithm: str, compiled: bool
) -> None:
    """Nothing is proven before the last round. In float32 the second game's rewards add up to more than 1."""
    game = as_game(Rounds(parts))
    config = replace(PROVE, algorithm=algorithm, simulations=100, c_visit=1, c_scale=0.05, c_init=3)
    # Two roots, one of which is proven a round earlier: what is asked of it then must be legal.
    roots = concatenate([game.initial(1), game.step(game.initial(1), torch.tensor([1])).state])
    result = search(UniformEvaluator(game), game, roots, config, torch.Generator(), compiled=compiled)
    assert result.proven.all()
    assert result.value.tolist() == pytest.approx([1, sum(parts[1:])])
    assert float(result.value[0]) <= 1
    assert result.action.tolist() == [1, 1]
    assert result.plies.tolist() == [4, 3]


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_proof_ends_the_search_and_costs_no_evaluation(algorithm: str, compiled: bool) -> None:
    game, config = TicTacToe(), replace(PROVE, algorithm=algorithm, simulations=1000)
    late = tic_tac_toe_board("x o . / o o x / x x .")  # a draw, with two lines that are one move longer
    counted = CountingEvaluator(ScrambledEvaluator(game))
    result = search(counted, game, late, config, torch.Generator(), compiled=compiled)
    assert (bool(result.proven[0]), float(result.value[0]), int(result.plies[0])) == (True, 0.0, 2)
    assert counted.evaluations == 3
    # In PUCT visits are the policy, so those of a drawn action go on until all is proven.
    assert int(result.visits.sum()) == (4 if algorithm == "gumbel" else 5)
    # Beside a root that takes long, it goes on without asking about the proven one.
    counted = CountingEvaluator(ScrambledEvaluator(game))
    both = concatenate([late, game.initial(1)])
    search(counted, game, both, replace(config, simulations=30), torch.Generator(), compiled=compiled)
    assert counted.batches[0] == 2
    assert sum(counted.batches[1:]) <= 2 + 30


def test_by_the_clock_it_ends_with_the_proof() -> None:
    game, late = TicTacToe(), tic_tac_toe_board("x o . / o o x / x x .")
    found = search_by_clock(
        ScrambledEvaluator(game), game, late, replace(PROVE, simulations=1 << 20), torch.Generator(), lambda: 0.0
    ).result()
    assert bool(found.proven[0])
    assert int(found.visits.sum()) == 4


def test_an_action_that_is_proven_lost_is_never_played_while_there_is_another() -> None:
    """However much the evaluator likes it, and though nothing is proven of the others."""
    game = ConnectFour()
    root = played("21314")  # the fourth in a row, at 5, must be prevented
    for salt in range(8):
        trees = grown(game, root, replace(PROVE, simulations=400), salt=salt)
        assert trees.tree.bounds is not None
        found, lost = trees.result(), root_edge_bounds(trees.tree, trees.tree.bounds).high == -1
        assert not bool(found.proven.any())
        assert bool(lost.any())
        assert not bool(lost[0, 4])
        assert found.policy[lost].eq(0).all()
        assert not bool(lost[0, found.action])


def test_without_a_solver_nothing_is_proven() -> None:
    game = TicTacToe()
    found = grown(game, take(late_tic_tac_toe(), slice(20)), replace(PROVE, solver=False))
    assert found.tree.bounds is None
    assert not found.result().proven.any()
    assert not found.result().plies.any()
