"""The values that the stub games promise, found again by brute force."""

from __future__ import annotations

import pytest
import torch

from alphazero.game import Game, State, take
from tests.stubs import Again, AgainState, Drift, Mine, MineState


def best_value(game: Game, state: State) -> float:
    """The value of a batch of one, for the player to move, by trying every line of play."""
    values = []
    for action in game.legal(state)[0].nonzero()[:, 0]:
        successor, reward, done = game.step(state, action[None])
        value = 0.0 if done else best_value(game, successor)
        sign = 1 if done or game.to_play(successor) == game.to_play(state) else -1
        values.append(float(reward) + game.discount * sign * value)
    return max(values)


@pytest.mark.parametrize("depth", range(6))
def test_mine(depth: int) -> None:
    state = MineState(torch.tensor([depth]), torch.tensor([False]))
    assert best_value(Mine(), state) == pytest.approx(float(Mine().optimal_value(state)), rel=1e-5)


@pytest.mark.parametrize("pile", range(1, 11))
def test_again(pile: int) -> None:
    state = AgainState(torch.tensor([pile]), torch.zeros(1, dtype=torch.int8))
    assert best_value(Again(), state) == float(Again().optimal_value(state))


def test_drift() -> None:
    """The best actions earn the best value from every start; any others, drawn about them, earn less."""
    game, generator = Drift(), torch.Generator().manual_seed(0)
    start = game.initial(20, generator=generator)
    state, best = start, torch.zeros(20)
    around, drawn = take(start, torch.arange(20).repeat_interleave(50)), torch.zeros(1000)
    low, high = map(torch.tensor, game.actions)
    for _ in range(game.steps):
        action = game.optimal_action(state)
        assert bool(((action >= low) & (action <= high)).all())
        state, reward, done = game.step(state, action)
        best += reward
        nearby = action.repeat_interleave(50, 0) + 0.05 * torch.randn((1000, 2), generator=generator)
        around, reward, _ = game.step(around, nearby.clamp(low, high))
        drawn += reward
    assert bool(done.all())
    torch.testing.assert_close(best, game.optimal_value(start))
    assert bool((drawn.view(20, 50) < best[:, None]).all())
