"""Search against exhaustive play, solved positions and the stub games' known best moves; and its promises."""

from __future__ import annotations

import csv
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from alphazero.config import SearchConfig
from alphazero.game import State, concatenate, take
from alphazero.mcts.evaluator import UniformEvaluator
from alphazero.mcts.search import search
from alphazero.mcts.tree_search import SearchResult
from games.connect_four import ConnectFour
from games.tic_tac_toe import LINES, TicTacToe, TicTacToeState
from tests.evaluators import CountingEvaluator, ScrambledEvaluator
from tests.positions import board, played, random_positions, tic_tac_toe_board
from tests.stubs import Again, AgainState, Drift, DriftState, Mine, MineState

LATE = Path(__file__).parent.parent / "data" / "connect_four_late.csv"
PLAY = SearchConfig(simulations=600, gumbel_scale=0.0, dirichlet_fraction=0.0)
ALGORITHMS = ["gumbel", "puct"]


@cache
def exact(mine: int, theirs: int) -> int:
    """The value of a tic-tac-toe position to the player to move, by trying everything."""
    if any(theirs & line == line for line in LINES):
        return -1
    empty = [1 << cell for cell in range(9) if not (mine | theirs) >> cell & 1]
    return max((-exact(theirs, mine | cell) for cell in empty), default=0)


@cache
def late_tic_tac_toe() -> TicTacToeState:
    """Every reachable unfinished position with at most five empty cells."""
    found, level = set[tuple[int, int]](), {(0, 0)}
    while level:
        level = {
            (theirs, mine | 1 << cell)
            for mine, theirs in level
            if not any(theirs & line == line for line in LINES)
            for cell in range(9)
            if not (mine | theirs) >> cell & 1
        }
        running = {p for p in level if not any(p[1] & line == line for line in LINES) and p[0] | p[1] != 511}
        found |= {p for p in running if (p[0] | p[1]).bit_count() >= 4}
    positions = torch.tensor(sorted(found), dtype=torch.int16)
    turn = torch.tensor([(mine | theirs).bit_count() % 2 for mine, theirs in positions.tolist()], dtype=torch.int8)
    return TicTacToeState(positions[:, 0], positions[:, 1], turn, torch.zeros(len(turn), dtype=torch.bool))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_no_late_tic_tac_toe_position_is_given_away(algorithm: str) -> None:
    game, positions = TicTacToe(), late_tic_tac_toe()
    assert len(positions.mine) > 2000
    config = replace(PLAY, algorithm=algorithm, simulations=400)
    result = search(UniformEvaluator(game), game, positions, config, torch.Generator())
    worse = []
    for number, (mine, theirs) in enumerate(zip(positions.mine.tolist(), positions.theirs.tolist(), strict=True)):
        kept = -exact(theirs, mine | 1 << int(result.action[number]))
        if kept != exact(mine, theirs):
            worse.append(game.render(take(positions, torch.tensor([number]))))
    assert worse == []


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_solved_late_connect_four_positions_keep_win_draw_or_loss(algorithm: str) -> None:
    with LATE.open(newline="") as file:
        rows = list(csv.DictReader(file))
    positions = concatenate([played(row["moves"]) for row in rows])
    game, config = ConnectFour(), replace(PLAY, algorithm=algorithm, simulations=4000)
    result = search(UniformEvaluator(game), game, positions, config, torch.Generator())
    assert [
        row["moves"] for row, action in zip(rows, result.action.tolist(), strict=True) if not keeps(row, action)
    ] == []


def keeps(row: dict[str, str], action: int) -> bool:
    """Whether the action has the sign of the best score; scores are signed distances to the end."""
    scores = {column: int(row[f"score_{column + 1}"]) for column in range(7) if row[f"score_{column + 1}"]}
    best = max(scores.values())
    return (scores[action] > 0, scores[action] < 0) == (best > 0, best < 0)


def test_it_wins_at_once_and_parries_a_threat() -> None:
    game = ConnectFour()
    wins = board("""
        . . . . . . .
        . . . . . . .
        . . . . . . .
        . . . . . . .
        . o o o . . .
        . x x x . . .""")
    parries = board("""
        . . . . . . .
        . . . . . . .
        . . . . . . .
        . . . . . . .
        . . . o . . .
        o x x x . . .""")
    result = search(UniformEvaluator(game), game, concatenate([wins, parries]), PLAY, torch.Generator())
    assert int(result.action[0]) in {0, 4}
    assert int(result.action[1]) == 4
    assert float(result.value[0]) > 0.9


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_tree_does_not_change_with_its_neighbours(algorithm: str) -> None:
    game = ConnectFour()
    evaluator, config = ScrambledEvaluator(game), replace(PLAY, algorithm=algorithm, simulations=64)
    roots = random_positions(game, 40, plies=19, seed=3)
    noise = torch.randn(len(roots.mine), 7, generator=torch.Generator().manual_seed(4))
    together = search(evaluator, game, roots, config, torch.Generator(), gumbel_noise=noise)
    for index in (torch.tensor([5]), torch.arange(len(roots.mine)).flip(0)[:11]):
        apart = search(evaluator, game, take(roots, index), config, torch.Generator(), gumbel_noise=noise[index])
        for name, field in apart._asdict().items():
            if field is not None:
                torch.testing.assert_close(field, getattr(together, name)[index], rtol=0, atol=0, msg=name)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_illegal_actions_have_no_prior_no_visits_and_no_share(algorithm: str) -> None:
    game, config = ConnectFour(), replace(PLAY, algorithm=algorithm, simulations=64)
    roots = random_positions(game, 2000, plies=35, seed=5)
    legal = game.legal(roots)
    assert int((~legal).sum()) > 100
    result = search(ScrambledEvaluator(game), game, roots, config, torch.Generator().manual_seed(0))
    for name in ("prior", "visits", "policy"):
        assert getattr(result, name)[~legal].eq(0).all(), name
    # Sums over seven actions, each rounded to 2^-24 of 1.
    torch.testing.assert_close(result.policy.sum(1), torch.ones(len(legal)), rtol=0, atol=7 * 2**-24)
    assert legal.gather(1, result.action[:, None]).all()
    assert (result.visits.sum(1) == config.simulations).all()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_finished_leaves_cost_no_evaluation(algorithm: str) -> None:
    game, config = TicTacToe(), replace(PLAY, algorithm=algorithm, simulations=100)
    one, two, winning = (
        tic_tac_toe_board("x o x / x o o / o x ."),  # every simulation ends the game
        tic_tac_toe_board("x o . / o o x / x x ."),  # two children, and the game ends behind each
        tic_tac_toe_board("x x . / x o o / o x ."),  # two children, and one of them has ended
    )
    for position, unfinished in ((one, 0), (two, 2), (winning, 1)):
        evaluator = CountingEvaluator(ScrambledEvaluator(game))
        search(evaluator, game, position, config, torch.Generator())
        assert evaluator.evaluations == 1 + unfinished


def chosen_values(game: Again | Mine, roots: State, result: SearchResult) -> Tensor:
    """The values [B] of the chosen actions for the root's player, under best play from then on."""
    successor, reward, _ = game.step(roots, result.action)
    sign = torch.where(game.to_play(successor) == game.to_play(roots), 1.0, -1.0)
    return reward + game.discount * sign * game.optimal_value(successor)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_players_who_move_twice_keep_their_wins(algorithm: str) -> None:
    """A search that changed the sign at every edge would fail: a 3 leaves the turn where it is."""
    game, piles = Again(), torch.arange(1, 11)
    roots = AgainState(piles.repeat(2), torch.arange(2, dtype=torch.int8).repeat_interleave(10))
    config = replace(PLAY, algorithm=algorithm)
    result = search(UniformEvaluator(game), game, roots, config, torch.Generator())
    torch.testing.assert_close(chosen_values(game, roots, result), game.optimal_value(roots))
    assert (result.value.sign() == game.optimal_value(roots)).all()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_one_player_digs_for_the_discounted_treasure(algorithm: str) -> None:
    # The evaluator knows nothing, so both algorithms have to explore much more than they do by default.
    game, depth = Mine(), torch.arange(1, Mine.bottom)
    roots = MineState(depth, torch.zeros_like(depth, dtype=torch.bool))
    config = replace(PLAY, algorithm=algorithm, c_visit=1, c_scale=0.05, c_init=3, simulations=2000)
    result = search(UniformEvaluator(game), game, roots, config, torch.Generator())
    torch.testing.assert_close(chosen_values(game, roots, result), game.optimal_value(roots))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_best_of_the_sampled_actions_is_played_in_a_continuous_game(algorithm: str) -> None:
    """With one push left, the reward of each sampled action is known."""
    game = Drift()
    roots = DriftState(game.initial(50, generator=torch.Generator().manual_seed(0)).position, torch.ones(50).long())
    config = replace(PLAY, algorithm=algorithm, simulations=200, considered_actions=8)
    generator = torch.Generator().manual_seed(1)
    result = search(UniformEvaluator(game, samples=8), game, roots, config, generator)
    assert result.actions is not None
    earned = torch.stack([game.step(roots, result.actions[:, k]).reward for k in range(8)], 1)
    torch.testing.assert_close(earned.gather(1, result.action[:, None])[:, 0], earned.amax(1))
    torch.testing.assert_close(result.q, torch.where(result.visits > 0, earned, 0.0))


def test_a_push_found_by_search_costs_far_less_than_a_random_one() -> None:
    """With two pushes left: the first leaves a known optimum, so its regret is known."""
    game, batch, samples = Drift(), 50, 16
    roots = DriftState(
        game.initial(batch, generator=torch.Generator().manual_seed(0)).position / 4, 2 * torch.ones(batch).long()
    )
    config = replace(PLAY, simulations=800, rescale_q=True)
    result = search(UniformEvaluator(game, samples=samples), game, roots, config, torch.Generator().manual_seed(1))
    assert result.actions is not None
    rows = torch.arange(batch)

    def regret(action: Tensor) -> Tensor:
        successor, reward, _ = game.step(roots, action)
        return game.optimal_value(roots) - reward - game.optimal_value(successor)

    chosen = regret(result.actions[rows, result.action]).mean()
    sampled = torch.stack([regret(result.actions[:, k]) for k in range(samples)], 1)
    # Between the best of the samples and their mean, a quarter of the way at the most.
    assert chosen < sampled.amin(1).mean() + 0.25 * (sampled.mean() - sampled.amin(1).mean())
