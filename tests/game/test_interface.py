"""The functions around the game interface, and the defaults that spare a game most of its methods."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from alphazero.game import (
    Discrete,
    Game,
    Transition,
    batch_size,
    concatenate,
    field_names,
    load_game,
    map_states,
    named_fields,
    num_actions,
    state_from,
    take,
    where,
)
from games.connect_four import ConnectFour
from tests.stubs import Drift


class CoinsState(NamedTuple):
    """coins: [B] int64; purses: [B, 2] float32."""

    coins: Tensor
    purses: Tensor


class Coins(Game):
    """The least that a game must define."""

    name = "coins"
    num_players = 2
    actions = Discrete(3)
    observation_shape = (1,)

    def initial(self, batch: int, *, generator: torch.Generator | None = None) -> CoinsState:
        return CoinsState(torch.full((batch,), 5), torch.zeros(batch, 2))

    def to_play(self, state: CoinsState) -> Tensor:
        return torch.zeros_like(state.coins, dtype=torch.int8)

    def legal(self, state: CoinsState) -> Tensor:
        return torch.ones((len(state.coins), 3), dtype=torch.bool)

    def step(self, state: CoinsState, action: Tensor) -> Transition:
        raise NotImplementedError

    def observe(self, state: CoinsState) -> Tensor:
        return state.coins[:, None].float()


STATE = CoinsState(torch.arange(4), torch.arange(8.0).view(4, 2))


def fields(state: CoinsState) -> tuple[list[int], list[list[float]]]:
    return state.coins.tolist(), state.purses.tolist()


def test_map_states_goes_field_by_field() -> None:
    assert fields(map_states(torch.add, STATE, STATE)) == ([0, 2, 4, 6], [[0, 2], [4, 6], [8, 10], [12, 14]])


def test_maps_tuples_that_hold_states_too() -> None:
    step = Transition(STATE, torch.arange(4.0), torch.tensor([False, True, False, True]))
    taken = take(step, torch.tensor([3, 0]))
    assert isinstance(taken.state, CoinsState)
    assert fields(taken.state) == ([3, 0], [[6, 7], [0, 1]])
    assert (taken.reward.tolist(), taken.done.tolist()) == ([3, 0], [True, False])
    assert list(named_fields(taken)) == ["state.coins", "state.purses", "reward", "done"]
    assert concatenate([taken, taken]).state.coins.tolist() == [3, 0, 3, 0]


def test_take_by_position_and_by_mask() -> None:
    assert fields(take(STATE, torch.tensor([2, 0, 2]))) == ([2, 0, 2], [[4, 5], [0, 1], [4, 5]])
    assert fields(take(STATE, torch.tensor([False, True, False, True]))) == ([1, 3], [[2, 3], [6, 7]])


def test_where_chooses_whole_states() -> None:
    other = map_states(torch.neg, STATE)
    chosen = where(torch.tensor([True, False, False, True]), STATE, other)
    assert fields(chosen) == ([0, -1, -2, 3], [[0, 1], [-2, -3], [-4, -5], [6, 7]])
    assert isinstance(chosen, CoinsState)


def test_concatenate_and_batch_size() -> None:
    both = concatenate([STATE, take(STATE, torch.tensor([1]))])
    assert batch_size(both) == 5
    assert fields(both) == ([0, 1, 2, 3, 1], [[0, 1], [2, 3], [4, 5], [6, 7], [2, 3]])


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
    assert named_fields(STATE) == {"coins": STATE.coins, "purses": STATE.purses}
    assert field_names(CoinsState) == ("coins", "purses")
    assert fields(state_from(CoinsState, STATE)) == fields(STATE)


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
