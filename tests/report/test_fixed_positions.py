"""The fixed positions: which they are, what is drawn of them, and that their policies are kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor

from alphazero.game import State, batch_size
from alphazero.mcts.evaluator import Evaluation, Evaluator
from alphazero.report.fixed_positions import FixedPositions, fixed_positions
from alphazero.report.monitor import Monitor
from alphazero.runs.files import RunError
from games.connect_four import ConnectFour
from games.tic_tac_toe import TicTacToe
from tests.positions import tic_tac_toe_board
from tests.small_metrics import plain
from tests.stubs import Drift, DriftState
from tests.tensorboard_events import events
from tests.training_runs import CONTINUOUS, SMALL

EMPTY = ". . . / . . . / . . ."
FIGURES = {"policy/fixed_positions", "positions/1", "positions/2", "positions/3", "positions/4"}


def constant(*logits: float) -> Evaluator:
    """Rates actions alike in all positions, and values these 0."""

    def evaluate(states: State, generator: torch.Generator) -> Evaluation:
        batch = batch_size(states)
        return Evaluation(torch.tensor([logits] * batch), torch.zeros(batch))

    return evaluate


class Figures:
    """Stands for the monitor: keeps figures by iteration and tag."""

    def __init__(self) -> None:
        self.shown: dict[tuple[int, str], Figure] = {}

    def figure(self, iteration: int, tag: str, figure: Figure) -> None:
        self.shown[iteration, tag] = figure


def show(folder: Path, *answers: tuple[int, Evaluator]) -> Figures:
    """Shows what the evaluators answer in tic-tac-toe at their iterations, in one process of a run."""
    positions, figures = FixedPositions(TicTacToe(), SMALL, folder), Figures()
    for iteration, evaluator in answers:
        positions.show(iteration, evaluator, figures)
    return figures


def policies(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "policies.npz", allow_pickle=False) as archive:
        return dict(archive)


def test_the_first_position_is_the_start_and_the_others_are_unfinished_ones_after_random_moves() -> None:
    positions = fixed_positions(TicTacToe(), SMALL)
    assert [field[:1].tolist() for field in positions] == [field.tolist() for field in tic_tac_toe_board(EMPTY)]
    moves_left = TicTacToe().legal(positions).sum(1).tolist()
    assert moves_left[0] == 9
    assert set(moves_left[1:]) <= {7, 8}  # self_play.opening_moves is 2
    assert not positions.done.any()


def test_the_positions_depend_on_the_seed_alone() -> None:
    game = ConnectFour()
    config = replace(SMALL, self_play=replace(SMALL.self_play, opening_moves=14))
    some = fixed_positions(game, config)
    torch.manual_seed(77)
    play = replace(config.self_play, streams=1, parallel_games=5, opening_share=0.1, temperature_moves=3)
    others = fixed_positions(game, replace(config, iterations=99, threads=2, self_play=play))
    assert all(torch.equal(one, other) for one, other in zip(some, others, strict=True))
    seeded = fixed_positions(game, replace(config, seed=config.seed + 1))
    assert not all(torch.equal(one, other) for one, other in zip(some, seeded, strict=True))


def test_policies_are_kept_by_iteration_and_survive_a_resume(tmp_path: Path) -> None:
    show(tmp_path, (1, constant(*[0.0] * 9)), (3, constant(*range(9))))
    legal = TicTacToe().legal(fixed_positions(TicTacToe(), SMALL)).double()
    uniform = legal / legal.sum(1, keepdim=True)
    powers = legal * torch.e ** torch.arange(9, dtype=torch.float64)
    kept = policies(tmp_path)
    assert list(kept) == ["1", "3"]
    np.testing.assert_allclose(kept["1"], uniform, atol=1e-6)
    np.testing.assert_allclose(kept["3"], powers / powers.sum(1, keepdim=True), atol=1e-6)
    show(tmp_path, (5, constant(*[1.0] * 9)))  # another process, which goes on
    resumed = policies(tmp_path)
    assert list(resumed) == ["1", "3", "5"]
    np.testing.assert_allclose(resumed["5"], uniform, atol=1e-6)
    for iteration, policy in kept.items():
        np.testing.assert_array_equal(resumed[iteration], policy)


def test_the_heatmap_is_of_all_policies_up_to_its_iteration(tmp_path: Path) -> None:
    """A run that was killed has policies of iterations that it does again."""
    show(tmp_path, *((iteration, constant(*[0.0] * 9)) for iteration in (1, 3, 5)))
    again = show(tmp_path, (3, constant(*range(9))))
    kept = policies(tmp_path)
    panels = again.shown[3, "policy/fixed_positions"].axes[:4]
    for position, panel in enumerate(panels):
        rows = np.stack([kept["1"][position], kept["3"][position]])
        np.testing.assert_allclose(panel.images[0].get_array(), rows, atol=1e-6)


def test_policies_that_cannot_be_read_are_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "policies.npz").write_bytes(b"policies")
    with pytest.raises(RunError, match=r"policies\.npz does not fit"):
        FixedPositions(TicTacToe(), SMALL, tmp_path)


def test_figures_reach_tensorboard_by_tag(tmp_path: Path) -> None:
    positions = FixedPositions(TicTacToe(), SMALL, tmp_path)
    with Monitor(tmp_path, iterations=9, first_iteration=0, console=plain()) as monitor:
        positions.show(4, constant(*[0.0] * 9), monitor)
    shown = events(tmp_path)
    assert set(shown.Tags()["images"]) == FIGURES
    assert all([image.step for image in shown.Images(tag)] == [4] for tag in FIGURES)


class DrawnDrift(Drift):
    """Drift that can be drawn; keeps what it was asked to draw."""

    def __init__(self) -> None:
        self.asked: list[tuple[DriftState, Tensor]] = []

    def figure(self, state: DriftState, action: Tensor) -> Figure:
        self.asked.append((state, action))
        return Figure(figsize=(1, 1))


def test_a_continuous_game_draws_the_likeliest_action_itself(tmp_path: Path) -> None:
    game = DrawnDrift()
    halves = constant(0.5, -0.5, 0.0, 0.0)  # means in coordinates from -1 to 1, and deviations
    figures = Figures()
    FixedPositions(game, CONTINUOUS, tmp_path).show(2, halves, figures)
    assert list(figures.shown) == [(2, f"positions/{number}") for number in (1, 2, 3, 4)]
    positions = fixed_positions(game, CONTINUOUS)
    assert len(game.asked) == 4
    for row, (state, action) in enumerate(game.asked):
        torch.testing.assert_close(action, torch.tensor([[0.15, -0.1]]))  # half of the bounds, 0.3 and 0.2
        assert torch.equal(state.position, positions.position[row : row + 1])
    assert not (tmp_path / "policies.npz").exists()


def test_a_continuous_game_that_cannot_be_drawn_has_no_figures(tmp_path: Path) -> None:
    figures = Figures()
    FixedPositions(Drift(), CONTINUOUS, tmp_path).show(2, constant(0.5, -0.5, 0.0, 0.0), figures)
    assert not figures.shown
