"""Games by their import path, and what is said of paths that lead to none."""

from __future__ import annotations

import pytest

from alphazero.game import load_game
from games.connect_four import ConnectFour


def test_load_game() -> None:
    assert isinstance(load_game("games.connect_four:ConnectFour"), ConnectFour)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("connect_four", "'connect_four' is no import path; write it as package.module:Class"),
        ("games.connect_fuor:ConnectFour", "cannot import 'games.connect_fuor'"),
        ("games.connect_four:ConnectFive", "has no 'ConnectFive'; it offers ConnectFour"),
        ("alphazero:Nothing", "has no 'Nothing'; it offers no game"),
        ("games.connect_four:ConnectFourState", "ConnectFourState is not a subclass of alphazero.game.Game"),
        ("games.connect_four:COLUMNS", "COLUMNS is not a subclass of alphazero.game.Game"),
        ("alphazero.game:Game", "Game lacks initial, legal, observe, step, to_play"),
    ],
)
def test_load_game_says_what_is_wrong(path: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_game(path)
