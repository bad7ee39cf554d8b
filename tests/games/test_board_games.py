"""What the games with rules in tensors and compiled rules have in common."""

from __future__ import annotations

import pytest
import torch

from alphazero.game import load_game, map_states, random_actions
from benchmarks.rules import tensor_rules

GAMES = ("games.othello:Othello", "games.hex:Hex", "games.breakthrough:Breakthrough", "games.connect_four:ConnectFour")


@pytest.mark.parametrize("path", GAMES)
def test_the_rules_in_tensors_need_no_values(path: str) -> None:
    """As on a GPU that records a search. On the device "meta" tensors have shapes alone: who asks for a value fails."""
    game = load_game(path)
    state = game.initial(3)
    action = random_actions(game, state, torch.Generator().manual_seed(0)).to("meta")
    shapes = map_states(lambda field: field.to("meta"), state)
    successor, reward, done = tensor_rules(game, "step", shapes, action)
    assert [(field.shape, field.dtype) for field in successor] == [(field.shape, field.dtype) for field in state]
    assert (reward.dtype, done.dtype) == (torch.float32, torch.bool)
    assert tensor_rules(game, "legal", shapes).shape == game.legal(state).shape
    assert game.observe(shapes).shape == (3, *game.observation_shape)
    assert game.key(shapes).shape == (3,)


@pytest.mark.parametrize("path", GAMES)
def test_a_game_that_is_made_from_one_is_searched_by_its_own_rules(path: str) -> None:
    game = load_game(path)
    assert game.compiled_rules is not None
    varied = type("Varied", (type(game),), {})
    assert varied().compiled_rules is None
