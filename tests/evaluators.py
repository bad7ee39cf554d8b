"""Evaluators without a network, to test search, cache and self-play."""

from __future__ import annotations

import torch
from torch import Tensor

from alphazero.game import Game, State, batch_size, num_actions
from alphazero.mcts.evaluator import Evaluation, Evaluator


def scrambled(key: Tensor, count: int) -> Tensor:
    """[B, count] float32 in [0, 1) that look random, always the same for a key [B] int64."""
    odd = torch.tensor([0x5851F42D4C957F2D + 0x1D872B41 * 2 * number for number in range(count)])
    mixed = (key[:, None] ^ (key[:, None] >> 31)) * odd
    mixed = (mixed ^ (mixed >> 27)) * odd
    return ((mixed >> 24) & 0xFFFF).float() / 0x10000


class ScrambledEvaluator:
    """Logits in [-2, 2) and values in [-1, 1) that look random but depend on the position and the salt alone.

    Illegal actions get logits too; finished positions are refused. `evaluations` counts the positions.
    """

    def __init__(self, game: Game, *, salt: int = 0) -> None:
        self.game, self.salt = game, salt
        self.evaluations = 0

    def __call__(self, states: State, generator: torch.Generator | None = None) -> Evaluation:
        del generator
        assert not states.done.any(), "the evaluator was asked about a finished position"
        drawn = scrambled(self.game.key(states) + self.salt, num_actions(self.game) + 1)
        self.evaluations += len(drawn)
        return Evaluation(4 * drawn[:, :-1] - 2, 2 * drawn[:, -1] - 1)


class CountingEvaluator:
    """Counts the positions that another evaluator is asked about; `batches` are the sizes of its calls."""

    def __init__(self, evaluator: Evaluator) -> None:
        self.evaluator = evaluator
        self.batches: list[int] = []

    @property
    def evaluations(self) -> int:
        return sum(self.batches)

    def __call__(self, states: State, generator: torch.Generator) -> Evaluation:
        self.batches.append(batch_size(states))
        return self.evaluator(states, generator)
