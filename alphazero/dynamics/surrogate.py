"""A network in place of a game's `step`, learned from what the step does: search may play in it instead.

It is a game like any other, whose states the true game observes; and it can be differentiated by actions whether the
true step can or not. It offers no symmetries, keys or solutions of the true game, for a network keeps none of them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from alphazero.game import Game, State, Transition, concatenate, map_states, named_fields, num_actions, take, where

WIDTH = 64  # of each of two hidden layers
MEMORY = 50  # of L-BFGS, steps
HALF = 0.5  # above it a number means true


class Network(nn.Module):
    """From inputs [B, I] to outputs [B, O], float64, both standardised by those it was made for."""

    def __init__(self, inputs: Tensor, outputs: Tensor, generator: torch.Generator, *, width: int) -> None:
        super().__init__()
        sizes = (inputs.shape[1], width, width, outputs.shape[1])
        self.weights = nn.ParameterList(
            torch.randn(count + 1, size, generator=generator, dtype=torch.float64) / count**0.5
            for count, size in itertools.pairwise(sizes)
        )
        self.centre, self.spread = inputs.mean(0), inputs.std(0).clamp(min=1e-9)
        self.mean, self.scale = outputs.mean(0), outputs.std(0)

    def standardised(self, inputs: Tensor) -> Tensor:
        hidden = (inputs - self.centre) / self.spread
        *within, last = self.weights
        for weight in within:
            hidden = (hidden @ weight[:-1] + weight[-1]).tanh()
        outputs: Tensor = hidden @ last[:-1] + last[-1]
        return outputs

    def forward(self, inputs: Tensor) -> Tensor:
        return self.mean + self.scale * self.standardised(inputs)


def approximate(
    inputs: Tensor,
    outputs: Tensor,
    *,
    generator: torch.Generator,
    width: int = WIDTH,
    steps: int = 1000,
    report: Callable[[int, float], object] = lambda step, loss: None,
) -> Network:
    """A network that has learned these outputs [B, O] of these inputs [B, I], by L-BFGS on the mean square error.

    With few parameters and exact data, a method of second order is worth its memory. Outputs that do not vary become
    constants. report: called with the number of evaluations, at most a quarter more than `steps`, and the mean square
    error in squared standard deviations.
    """
    network = Network(inputs, outputs, generator, width=width)
    varies = network.scale > 0
    target = (outputs - network.mean) / torch.where(varies, network.scale, 1.0)
    optimizer = torch.optim.LBFGS(
        network.parameters(), max_iter=steps, history_size=MEMORY, line_search_fn="strong_wolfe", tolerance_change=1e-14
    )
    evaluations = itertools.count(1)

    def loss() -> float:
        optimizer.zero_grad()
        error = (network.standardised(inputs) - target)[:, varies].square().mean()
        error.backward()
        report(next(evaluations), error.item())
        return error.item()

    optimizer.step(loss)
    return network.requires_grad_(False)


class Transitions(NamedTuple):
    """B steps of a game: states, actions [B] or [B, D], and the results of `step`."""

    states: State
    actions: Tensor
    after: State
    reward: Tensor
    done: Tensor


def random_play(game: Game, count: int, generator: torch.Generator, *, batch: int = 1024) -> Transitions:
    """`count` steps of random games; each game goes on for one step after its end, which must be learned, too."""
    batch = min(batch, count)
    states, over = game.initial(batch, generator=generator), torch.zeros(batch, dtype=torch.bool)
    played: list[Transitions] = []
    for _ in range(math.ceil(count / batch)):
        actions = game.actions.random(game.legal(states), generator)
        played.append(Transitions(states, actions, *game.step(states, actions)))
        after, done = played[-1].after, played[-1].done
        states, over = where(over, game.initial(batch, generator=generator), after), done & ~over
    return take(concatenate(played), slice(count))


Reward = Callable[[State, Tensor, State], Tensor]  # of states, actions, and states after them: [B]


def _of_the_game(function: str) -> Callable[..., Any]:
    """A surrogate's method that asks the game it stands for."""
    return lambda surrogate, *inputs, **options: getattr(surrogate.game, function)(*inputs, **options)


class Surrogate(Game):
    """`game` with a network in place of its step (see the module).

    reward: where the rules of the reward are known, of states, actions and states after them; None: learned, too.
    """

    def __init__(self, game: Game, network: Network, reward: Reward | None = None) -> None:
        self.game, self.network, self.reward = game, network, reward
        # A class's own annotations say ClassVar for what a game may also set for each instance.
        self.name, self.num_players = f"{game.name} (surrogate)", game.num_players  # type: ignore[misc]
        self.actions, self.observation_shape, self.discount = game.actions, game.observation_shape, game.discount
        self.metric_units = game.metric_units

    initial, to_play, legal = map(_of_the_game, ("initial", "to_play", "legal"))
    observe, metrics, render = map(_of_the_game, ("observe", "metrics", "render"))

    def step(self, state: State, action: Tensor) -> Transition:
        """The network's step; whole numbers are rounded, and flags are set above HALF."""
        flat = flattened(state)
        said = self.network(torch.cat([flat, encoded(self.game, action)], 1))
        after = unflattened(flat + said[:, : flat.shape[1]], state)
        done = said[:, -1] > HALF
        reward = said[:, -2] if self.reward is None else self.reward(state, action, after)
        return Transition(after, reward.float(), done)


def learn_step(game: Game, seen: Transitions, *, reward: Reward | None = None, **settings: Any) -> Surrogate:
    """A surrogate that has learned from these steps (see `random_play`). settings: see `approximate`."""
    before = flattened(seen.states)
    known = torch.zeros_like(seen.reward) if reward else seen.reward
    outputs = torch.cat([flattened(seen.after) - before, torch.stack([known, seen.done], 1).double()], 1)
    inputs = torch.cat([before, encoded(game, seen.actions)], 1)
    return Surrogate(game, approximate(inputs, outputs, **settings), reward)


def flattened(state: State) -> Tensor:
    """[B, K] float64: all fields of a state, side by side."""
    return torch.cat([field.double()[:, None].flatten(1) for field in state], 1)


def unflattened(flat: Tensor, like: State) -> State:
    """A state again, with the types and shapes of `like`."""

    def restored(field: Tensor, part: Tensor) -> Tensor:
        whole = part > HALF if field.dtype == torch.bool else part.round()
        return (part if field.is_floating_point() else whole).view(field.shape).to(field.dtype)

    return map_states(restored, like, flat.split([math.prod(field.shape[1:]) for field in like], 1))


def encoded(game: Game, action: Tensor) -> Tensor:
    """Actions as numbers, [B, D] float64; discrete ones as one of A."""
    return nn.functional.one_hot(action, num_actions(game)).double() if game.discrete else action.double()


def errors(surrogate: Surrogate, seen: Transitions) -> dict[str, float]:
    """Root mean square errors of a step, by the state's field, of the reward, and the share of ends that are missed."""
    said, true = surrogate.step(seen.states, seen.actions), Transition(seen.after, seen.reward, seen.done)
    squares = map_states(lambda one, other: (one.double() - other.double()).square().mean(), said, true)
    found = {name.removeprefix("state."): square.sqrt().item() for name, square in named_fields(squares).items()}
    return {**found, "done": squares.done.item()}
