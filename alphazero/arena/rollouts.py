"""Evaluators of players without a trained network: random rollouts, as in plain tree search, and a wide policy."""

from __future__ import annotations

from typing import Generic

import torch

from alphazero.game import Game, S, batch_size, box_of, random_actions, take
from alphazero.mcts.evaluator import Evaluation, UniformEvaluator
from alphazero.mcts.gaussian import raw_deviation

WIDE = 0.5  # standard deviation of an untrained policy, of half the Box


class RolloutEvaluator(Generic[S]):
    """Uniform priors; the value is the mean return of games that are played on at random (as in plain MCTS).

    A game longer than `max_moves` counts with its rewards so far.
    """

    def __init__(self, game: Game[S], *, rollouts: int = 1, max_moves: int = 1_000, samples: int = 16) -> None:
        self.game, self.rollouts, self.max_moves = game, rollouts, max_moves
        self.uniform = UniformEvaluator(game, samples=samples)

    def __call__(self, states: S, generator: torch.Generator) -> Evaluation:
        evaluation = self.uniform(states, generator)
        batch, device = batch_size(states), states[0].device
        state = take(states, torch.arange(batch, device=device).repeat(self.rollouts))
        viewer = self.game.to_play(state)
        gain = torch.zeros(len(viewer), device=device)
        worth = torch.ones_like(gain)  # the discount so far
        done = torch.zeros(len(viewer), dtype=torch.bool, device=device)
        for _ in range(self.max_moves):
            mover = self.game.to_play(state)
            state, reward, done = self.game.step(state, random_actions(self.game, state, generator))
            gain = gain + worth * torch.where(mover == viewer, reward, -reward)
            worth = worth * self.game.discount
            if done.all():
                break
        return evaluation._replace(value=gain.view(self.rollouts, batch).mean(0))


class UntrainedEvaluator(Generic[S]):
    """The output of a network for a Box game before any training: actions about the middle, widely, and values of 0."""

    def __init__(self, game: Game[S]) -> None:
        self.size = len(box_of(game).low)

    def __call__(self, states: S, generator: torch.Generator) -> Evaluation:
        mean = torch.zeros(batch_size(states), self.size, device=states[0].device)
        return Evaluation(torch.cat([mean, torch.full_like(mean, raw_deviation(WIDE))], 1), mean[:, 0])
