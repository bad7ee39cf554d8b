"""What the network thinks of a few fixed positions, watched over the run."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from alphazero.config import Config
from alphazero.game import Game, State, batch_size, concatenate, masked, take
from alphazero.mcts.evaluator import Evaluator
from alphazero.mcts.planning import likeliest
from alphazero.replay import Arrays
from alphazero.report.monitor import Monitor
from alphazero.runs.arrays import read_policies
from alphazero.runs.files import POLICIES, clear_errors, reading, save_arrays
from alphazero.selfplay import fresh_starts, stream_generator

POSITIONS = 1_000_002  # sets the seed of the positions apart from those of the streams of self-play


class FixedPositions:
    """Draws policies and values of the same positions at every call, and keeps the policies in the run's folder."""

    def __init__(self, game: Game, config: Config, folder: Path) -> None:
        """Reads the policies of before, if there are any. RunError if they cannot be read."""
        self.game, self.positions, self.folder = game, fixed_positions(game, config), folder
        self.path = folder / POLICIES
        self.policies: Arrays = {}  # by iteration
        if game.discrete and self.path.exists():
            with reading(self.path, "move it away to go on without the policies of before"):
                self.policies = read_policies(self.path, game, batch_size(self.positions))

    def show(self, iteration: int, evaluator: Evaluator, monitor: Monitor) -> None:
        """Asks the evaluator about the positions, and shows its answers in TensorBoard."""
        from alphazero.report.position_figures import board_figure, policy_heatmap  # only now: it is slow to load

        evaluation = evaluator(self.positions, torch.Generator())
        positions = [take(self.positions, slice(n, n + 1)) for n in range(batch_size(self.positions))]
        if not self.game.discrete:
            figures = map(self.game.figure, positions, likeliest(self.game, self.positions, evaluation)[:, None])
        else:
            policies = masked(evaluation.logits, self.game.legal(self.positions)).softmax(-1)
            self.policies[str(iteration)] = policies.numpy()
            with clear_errors(self.folder):
                save_arrays(self.path, self.policies)
            history = {int(then): policies for then, policies in self.policies.items() if int(then) <= iteration}
            monitor.figure(iteration, "policy/fixed_positions", policy_heatmap(self.game, history))
            figures = map(partial(board_figure, self.game), positions, policies, evaluation.value.tolist())
        for number, figure in enumerate(figures, 1):
            if figure is not None:  # the game can draw it
                monitor.figure(iteration, f"positions/{number}", figure)


def fixed_positions(game: Game, config: Config) -> State:
    """The start, and three positions after random moves that depend on the run's seed."""
    generator = stream_generator(config.seed, POSITIONS)
    start, others = (replace(config.self_play, opening_share=share, device="cpu") for share in (0.0, 1.0))
    return concatenate([fresh_starts(game, 1, start, generator), fresh_starts(game, 3, others, generator)])
