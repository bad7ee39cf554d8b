"""The evaluators of a search, made of a network's.

In a Box game they sample actions from the network's policy (Hubert et al. 2021, "Learning and planning in complex
action spaces": Sampled MuZero). They can value a position by playing the policy on. And where the game's step can be
differentiated, they can improve the root's actions by its gradient before these are searched.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from alphazero.config import SearchConfig
from alphazero.game import Game, State, box_of, map_states, take
from alphazero.mcts.evaluator import Evaluation, Evaluator, weights_of
from alphazero.mcts.gaussian import Gaussian, from_box, into_box
from alphazero.mcts.policy import policy_of

# The least logit of a sample, relative to the likeliest, in nats: so a value that is better by some tenths is enough to
# prefer a sample from the whole Box, however sure the network is.
LEAST_LIKELY = -10.0

# Refinement: its longest step, in the Box's coordinates, and the factor by which one that went too far is shortened.
LONGEST_STEP, SHORTENED = 0.5, 0.25


class Planners(NamedTuple):
    """The evaluators of the root and of all other nodes."""

    root: Evaluator
    inner: Evaluator


def planners(game: Game, network: Evaluator, config: SearchConfig, *, cached: Evaluator | None = None) -> Planners:
    """cached: the network behind a cache, if there is one. Gradients need the network itself."""
    inner = cached or network
    if config.rollout_moves:
        inner = RolledOut(game, inner, config)
    if game.discrete:
        return Planners(inner, inner)
    inner = SampledActions(game, inner, config)
    return Planners(RefinedActions(game, inner, network, config) if config.refine_steps else inner, inner)


def likeliest(game: Game, states: State, evaluation: Evaluation) -> Tensor:
    """The action that a network's evaluation puts first: [B] int64, legal where unfinished, or [B, D] float32."""
    return policy_of(game).mode(evaluation.logits, game.legal(states))


class RolledOut:
    """An evaluator whose value comes in part from playing the policy on in the simulator for a few moves."""

    def __init__(self, game: Game, network: Evaluator, config: SearchConfig) -> None:
        self.game, self.network = game, network
        self.moves, self.share = config.rollout_moves, config.rollout_share

    def __call__(self, states: State, generator: torch.Generator) -> Evaluation:
        first = now = self.network(states, generator)
        state, mover = states, self.game.to_play(states)
        gain = torch.zeros_like(first.value)
        worth = torch.ones_like(first.value)  # of a reward now, to the player who moved first
        for _ in range(self.moves):
            state, reward, done = self.game.step(state, likeliest(self.game, state, now))
            gain = gain + worth * reward
            turns = self.game.to_play(state) != mover
            worth = worth * torch.where(turns, -self.game.discount, self.game.discount) * ~done
            mover = self.game.to_play(state)
            # Asking a GPU would wait for it.
            if done.device.type == "cpu" and bool(done.all()):
                break
            now = self.network(state, generator)
        rolled = gain + worth * now.value
        return first._replace(value=torch.lerp(first.value, rolled, self.share))

    def weights(self) -> Mapping[str, Tensor] | None:
        return weights_of(self.network)


class SampledActions:
    """Draws actions of a Box game from the network's policy, and a share of them from the whole Box.

    Their logits are the logarithms of the policy's density, times `sharpening`. Sampled MuZero divides by the density
    that they were drawn with, which leaves the policy as it is where all values are equal; so it gets narrower there,
    and settles on one of several equally good actions. The first of the samples is the policy's mode.
    """

    def __init__(self, game: Game, network: Evaluator, config: SearchConfig) -> None:
        self.box, self.network, self.count = box_of(game), network, config.sampled_actions
        self.uniform = min(round(config.uniform_share * self.count), self.count - 1)
        self.sharpening = config.sharpening

    def __call__(self, states: State, generator: torch.Generator) -> Evaluation:
        found = self.network(states, generator)
        policy = Gaussian.of(found.logits)
        places = policy.sample(self.count, generator)
        places[:, 0] = policy.mode()
        if self.uniform:
            places[:, -self.uniform :].uniform_(-1, 1, generator=generator)
        logits = self.sharpening * policy.log_density(places)
        logits = (logits - logits.amax(1, keepdim=True)).clamp(min=LEAST_LIKELY)
        return Evaluation(logits, found.value, into_box(places, self.box))


class RefinedActions:
    """Moves sampled actions some steps up the gradient of reward + discount * value, through the game's own step.

    A step is as long as would gain `refine_gain` if the gradient stayed the same: long where the slope is gentle, short
    where it is steep. One that makes things worse is taken back, and the next is shorter.
    """

    def __init__(self, game: Game, sampled: Evaluator, network: Evaluator, config: SearchConfig) -> None:
        self.game, self.box, self.sampled, self.network = game, box_of(game), sampled, network
        self.steps, self.gain = config.refine_steps, config.refine_gain

    def __call__(self, states: State, generator: torch.Generator) -> Evaluation:
        found = self.sampled(states, generator)
        assert found.actions is not None
        batch, count, dimensions = found.actions.shape
        with torch.inference_mode(False):
            # Tensors of inference mode cannot be differentiated; their clones can.
            row = torch.arange(batch, device=found.actions.device).repeat_interleave(count)
            many = take(map_states(lambda field: field.clone(), states), row)
            places = from_box(found.actions.clone(), self.box).view(-1, dimensions)
            places = self._climb(many, places, generator)
        return found._replace(actions=into_box(places, self.box).view(batch, count, dimensions))

    def _climb(self, states: State, places: Tensor, generator: torch.Generator) -> Tensor:
        best = places
        top, slope = self._slope(states, best, generator)
        gain = torch.full_like(top, self.gain)
        for _ in range(self.steps):
            step = gain[:, None] * slope / slope.square().sum(1, keepdim=True).clamp(min=1e-20)
            step = step * (LONGEST_STEP / step.norm(dim=1, keepdim=True).clamp(min=LONGEST_STEP))
            tried = (best + step).clamp(-1, 1)
            height, new_slope = self._slope(states, tried, generator)
            better = height > top
            best, slope = torch.where(better[:, None], tried, best), torch.where(better[:, None], new_slope, slope)
            top, gain = torch.where(better, height, top), torch.where(better, gain, SHORTENED * gain)
        return best

    def _slope(self, states: State, places: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The actions' worth [M] and its gradient [M, D], which is 0 where it leads out of the Box."""
        with torch.enable_grad():
            places = places.detach().requires_grad_()
            state, reward, done = self.game.step(states, into_box(places, self.box))
            worth = reward
            if not bool(done.all()):
                value = self.network(state, generator).value
                same = self.game.to_play(state) == self.game.to_play(states)
                worth = worth + torch.where(same, self.game.discount, -self.game.discount) * value * ~done
            if not worth.requires_grad:
                if any(field.requires_grad for field in state):
                    return worth, torch.zeros_like(places)  # all games are over, and the last action earns nothing
                raise ValueError(
                    f"{self.game.name}: its step cannot be differentiated by the action; set search.refine_steps = 0"
                )
            (slope,) = torch.autograd.grad(worth.sum(), places)
        outwards = (places.detach() >= 1) & (slope > 0) | (places.detach() <= -1) & (slope < 0)
        slope = torch.where(outwards | ~slope.isfinite(), 0.0, slope)
        return worth.detach(), slope
