"""Policies: what a network's policy head means, for discrete actions (categorical) and for a Box (Gaussian)."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from alphazero.config import SearchConfig
from alphazero.game import Discrete, Game, S, masked
from alphazero.mcts.gaussian import GaussianPolicy


class Policy(Protocol):
    """How a network's output [B, outputs] stands for a policy over a game's actions.

    outputs: how many numbers the network gives; `description` says which.
    bfloat16_suffices: whether its three digits are enough for them.
    """

    outputs: int
    description: str
    bfloat16_suffices: bool

    def initialise(self, bias: Tensor, deviation: float) -> None:
        """Sets the bias [outputs] of a fresh network's policy head, so that a Gaussian has about this deviation."""

    def shapes(self, config: SearchConfig) -> tuple[int, tuple[int, int]]:
        """How many actions the search chooses among at a node, and the shape K, D of those sampled; 0, 0: none are."""

    def mode(self, output: Tensor, legal: Tensor) -> Tensor:
        """The likeliest actions: [B] int64, legal where unfinished, or [B, D] float32."""

    def coordinates(self, sampled: Tensor) -> Tensor:
        """Where sampled actions lie in the Box, [B, K, D]; of a discrete game [B, 0, 0]."""

    def log_policy(self, output: Tensor, legal: Tensor, sampled: Tensor) -> tuple[Tensor, Tensor]:
        """Logarithms of the policy [B, A], or of a Box game's density at `sampled` [B, K, D], and its entropy [B].

        `sampled` is in the Box's coordinates.
        """


class CategoricalPolicy:
    """A probability for each action, by its logit; see `Policy`."""

    description = "[batch, actions], before masking"
    bfloat16_suffices = True

    def __init__(self, actions: Discrete) -> None:
        self.outputs = actions.n

    def initialise(self, bias: Tensor, deviation: float) -> None:
        pass

    def shapes(self, config: SearchConfig) -> tuple[int, tuple[int, int]]:
        return self.outputs, (0, 0)

    def mode(self, output: Tensor, legal: Tensor) -> Tensor:
        return masked(output, legal).argmax(1)

    def coordinates(self, sampled: Tensor) -> Tensor:
        return sampled

    def log_policy(self, output: Tensor, legal: Tensor, sampled: Tensor) -> tuple[Tensor, Tensor]:
        log_policy = masked(output, legal).log_softmax(-1)
        # The logarithm may be that of an illegal action, where the target is 0: 0 times it must be 0.
        probability, log_policy = log_policy.exp(), log_policy.clamp(min=-1e4)
        return log_policy, -(probability * log_policy).sum(-1)


def policy_of(game: Game[S]) -> Policy:
    """The policy that suits the game's actions."""
    return CategoricalPolicy(game.actions) if isinstance(game.actions, Discrete) else GaussianPolicy(game.actions)
