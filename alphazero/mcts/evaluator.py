"""Evaluators: the search asks them about states. Those here need no network.

An evaluator is a callable `evaluator(states, generator) -> Evaluation`. `alphazero.network` makes them of networks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Generic, NamedTuple, Protocol

import torch
from torch import Tensor
from typing_extensions import TypeVar

from alphazero.game import Game, S, State, batch_size, num_actions, random_actions, take


class Evaluation(NamedTuple):
    """An evaluator's answer for B states.

    logits:  [B, A] float32, before masking. From a network in a Box game: [B, 2 D], its policy (see
             `gaussian.Gaussian`), from which `planning` samples.
    value:   [B] float32 in [-1, 1], for the player to move.
    actions: [B, K, D] float32, the actions sampled from the policy in a game with continuous
             ones, whose logits are then [B, K] (Hubert et al. 2021); None in a discrete game.
    """

    logits: Tensor
    value: Tensor
    actions: Tensor | None = None


S_contra = TypeVar("S_contra", bound=State, default=State, contravariant=True)


class EvaluationError(Exception):
    """A network that cannot be evaluated, or whose answer is none; the message says what it is."""


class Evaluator(Protocol[S_contra]):
    """Values states and rates their actions; see `alphazero.network.inference` for those with a network.

    `generator` draws whatever is random about the answer (rollouts, sampled actions).
    """

    def __call__(self, states: S_contra, generator: torch.Generator) -> Evaluation: ...


def weights_of(evaluator: Evaluator[S]) -> Mapping[str, Tensor] | None:
    """All tensors that the evaluator's answers depend on besides the states, by name; None if it does not tell.

    An evaluator that has a method `weights` tells. It draws nothing, so that a search can be recorded once and repeated
    with other weights (`cuda_graph`).
    """
    weights: Callable[[], Mapping[str, Tensor] | None] | None = getattr(evaluator, "weights", None)
    return weights() if weights else None


class UniformEvaluator(Generic[S]):
    """Rates every action alike, and values every state 0. In a Box game it draws `samples` actions uniformly."""

    def __init__(self, game: Game[S], *, samples: int = 16) -> None:
        self.game, self.samples = game, samples

    def __call__(self, states: S, generator: torch.Generator) -> Evaluation:
        batch, device = batch_size(states), states[0].device
        if self.game.discrete:
            logits, actions = torch.zeros(batch, num_actions(self.game), device=device), None
        else:
            logits = torch.zeros(batch, self.samples, device=device)
            repeated = take(states, torch.arange(batch, device=device).repeat_interleave(self.samples))
            actions = random_actions(self.game, repeated, generator).unflatten(0, (batch, self.samples))
        return Evaluation(logits, torch.zeros(batch, device=device), actions)

    def weights(self) -> Mapping[str, Tensor] | None:
        return {} if self.game.discrete else None


class TimedEvaluator(Generic[S]):
    """Counts the evaluations that an evaluator makes, and the CPU seconds of its thread that they take."""

    def __init__(self, evaluator: Evaluator[S]) -> None:
        self.evaluator = evaluator
        self.evaluations, self.seconds = 0, 0.0

    def __call__(self, states: S, generator: torch.Generator) -> Evaluation:
        start = time.thread_time()
        evaluation = self.evaluator(states, generator)
        self.seconds += time.thread_time() - start
        self.evaluations += len(evaluation.value)
        return evaluation

    def weights(self) -> Mapping[str, Tensor] | None:
        return weights_of(self.evaluator)
