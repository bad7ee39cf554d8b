"""The functions over states, field by field."""

from __future__ import annotations

import torch

from alphazero.game import (
    Transition,
    batch_size,
    concatenate,
    field_names,
    map_states,
    named_fields,
    state_from,
    take,
    where,
)
from tests.game.coins import STATE, CoinsState, fields


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


def test_fields_have_names_and_make_a_state_again() -> None:
    assert named_fields(STATE) == {"coins": STATE.coins, "purses": STATE.purses}
    assert field_names(CoinsState) == ("coins", "purses")
    assert fields(state_from(CoinsState, STATE)) == fields(STATE)
