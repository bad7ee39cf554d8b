"""The game interface, and the defaults that spare a game most of its methods."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from alphazero.game import Game, num_actions
from games.connect_four import ConnectFour
from tests.game.coins import STATE, Coins, CoinsState
from tests.stubs import Drift


def test_num_actions() -> None:
    assert num_actions(ConnectFour()) == 7
    with pytest.raises(TypeError, match="drift has continuous actions"):
        num_actions(Drift())


def test_defaults() -> None:
    game = Coins()
    assert game.symmetries() == ()
    assert not game.has_key
    with pytest.raises(ValueError, match="coins has no `key`"):
        game.key(STATE)
    assert not game.has_solver
    with pytest.raises(ValueError, match="coins has no perfect player"):
        game.solve(STATE)
    assert game.discount == 1
    heuristic = game.heuristic(STATE)
    assert (heuristic.dtype, heuristic.tolist()) == (torch.float32, [0, 0, 0, 0])
    assert game.render(game.initial(1)) == "coins: 5\npurses: [0.0, 0.0]"


def test_a_game_offers_what_its_class_defines() -> None:
    class Countable(Coins):
        def key(self, state: CoinsState) -> Tensor:
            return state.coins

        def solve(self, state: CoinsState) -> Tensor:
            return torch.zeros(len(state.coins), 3)

    assert Countable().has_key
    assert Countable().has_solver
    assert Countable().key(STATE).tolist() == [0, 1, 2, 3]


def test_the_type_of_the_states() -> None:
    class Typed(Game[CoinsState]):
        initial, to_play, legal, step, observe = Coins.initial, Coins.to_play, Coins.legal, Coins.step, Coins.observe

    class Heir(Typed):
        def initial(self, batch: int, *, generator: torch.Generator | None = None) -> CoinsState:
            raise AssertionError("the class says what its states are; no game has to start for that")

    assert Typed().state_type is Heir().state_type is CoinsState
    assert Coins().state_type is CoinsState  # the class does not say it; a start does


def test_the_names_of_earlier_versions_are_read_and_say_so() -> None:
    with pytest.warns(FutureWarning) as warned:

        class Earlier(Coins):
            def measures(self, state: CoinsState) -> dict[str, Tensor]:
                return {"purse": state.purses[:, 0]}

            def picture(self, state: CoinsState, action: Tensor) -> None:
                raise LookupError

    assert [str(each.message).partition(";")[0] for each in warned] == [
        "Earlier.measures is called `metrics` now",
        "Earlier.picture is called `figure` now",
    ]
    assert Earlier().metrics(STATE)["purse"].tolist() == [0, 2, 4, 6]
    with pytest.raises(LookupError):
        Earlier().figure(STATE, torch.zeros(1, 2))


def test_actions_are_called_by_number() -> None:
    game = Coins()
    assert [game.action_name(action) for action in range(3)] == ["0", "1", "2"]
    assert game.parse_action(" 2\n") == 2
    for text in ("3", "-1", "", "two"):
        with pytest.raises(ValueError, match="expected one of 0, 1, 2"):
            game.parse_action(text)
