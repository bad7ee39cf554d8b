"""The old place of Othello: agents and runs of that time go on, with positions of a number a board."""

from __future__ import annotations

import re
import warnings

import pytest
import torch

from alphazero.game import check_game, random_actions
from alphazero.game.loading import load_game, registered_games
from games.othello import Othello


@pytest.mark.parametrize(("name", "side"), [("Othello", 6), ("Othello8", 8)])
def test_the_old_names_are_read_with_a_warning(name: str, side: int) -> None:
    told = f"examples.othello:{name} is called `games.othello:Othello(side={side})` now; the old name is read for one"
    with pytest.warns(FutureWarning, match=re.escape(told)):
        game = load_game(f"examples.othello:{name}")
    now = Othello(side)
    assert (game.name, game.actions, game.observation_shape) == (now.name, now.actions, now.observation_shape)
    check_game(game, games=16)
    state, state_now, generator = game.initial(8), now.initial(8), torch.Generator().manual_seed(0)
    assert state[0].tolist() == [(2 + (1 << side)) << (side + 1) * (side // 2 - 1)] * 8  # a bit a cell
    while not state.done.all():
        assert torch.equal(game.observe(state), now.observe(state_now))
        action = random_actions(game, state, generator)
        state, state_now = game.step(state, action).state, now.step(state_now, action).state
    assert state_now.done.all()


def test_files_may_ask_for_what_was_registered() -> None:
    assert "examples.othello:Othello" in registered_games()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        assert load_game("examples.othello:Othello").name == "othello_6x6"
