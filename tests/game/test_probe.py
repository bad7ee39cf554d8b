"""A probe catches answers of the wrong shape or type, and calls that fail or alter their input."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch

from alphazero.game import Discrete
from alphazero.game.conformance import check_game
from alphazero.game.probe import ConformanceError, Positions, Probe, same_rows
from games.connect_four import ConnectFour
from games.tic_tac_toe import TicTacToe, TicTacToeState
from tests.game.broken_games import Broken, Walk, assert_caught, broken, step_with, where_it_says
from tests.positions import random_positions
from tests.stubs import Drift


def test_the_message_shows_the_position() -> None:
    game = broken(ConnectFour, heuristic=lambda self, state: self.observe(state)[:, 0, 5, 3])
    with pytest.raises(ConformanceError) as caught:
        check_game(game)
    first, *picture = str(caught.value).split("\n")
    assert re.fullmatch(r"heuristic: must lie within \(-1, 1\) \(state \d+ at ply \d+\)", first)
    assert picture[-1] == "1 2 3 4 5 6 7"
    assert picture[-2].split()[3] in "xo"


def test_the_message_shows_the_fields_where_render_fails() -> None:
    game = broken(Walk, legal=lambda self, state: state.place > 99, render=lambda self, state: 1 / 0)
    with pytest.raises(ConformanceError, match=r"legal action \(state 0 at ply 0\)\nplace: \[0.0, 0.0\]$"):
        check_game(game)


def altering(state: TicTacToeState, answer: Any) -> Any:
    state.turn.zero_()
    return answer


ALL_LEGAL = {"legal": lambda self, state: torch.ones((len(state.done), self.actions.n), dtype=torch.bool)}


BROKEN = {
    # shapes and types
    "wide to_play": where_it_says("to_play", lambda state, turn: turn.long(), "its answer must have dtype torch.int8"),
    "legal as numbers": where_it_says("legal", lambda state, legal: legal.float(), ".* must have dtype torch.bool"),
    "ten legal actions": where_it_says(
        "legal", lambda state, legal: legal[:, [0, *range(9)]], r".* must have shape \(64, 9\), has \(64, 10\)"
    ),
    "a box with legal actions": where_it_says(
        "legal", lambda state, legal: state.position > 9, r".* must have shape \(64, 0\), has \(64, 2\)", Drift
    ),
    "a flat observation": where_it_says(
        "observe", lambda state, planes: planes.flatten(1), r".* must have shape \(\d+, 2, 3, 3\), has \(\d+, 18\)"
    ),
    "a list as observation": where_it_says("observe", lambda state, planes: planes.tolist(), "its answer .* is a list"),
    "wide heuristic": where_it_says("heuristic", lambda state, guess: guess.double(), ".* dtype torch.float32"),
    "narrow key": where_it_says("key", lambda state, key: key.int(), ".* dtype torch.int64, has torch.int32"),
    "a plain tuple": where_it_says("step", lambda state, transition: (*transition,), ".* must be a Transition"),
    "a plain state": where_it_says(
        "step",
        lambda state, transition: transition._replace(state=(*transition.state,)),
        "the successor must be a TicTacToeState, is a tuple",
    ),
    "a wider field": step_with(
        "mine", lambda state, transition: transition.state.mine.long(), "field `mine` must have dtype torch.int16"
    ),
    "a column of rewards": step_with(
        "reward", lambda state, transition: transition.reward[:, None], r"reward must have shape \(64,\)"
    ),
    "done as numbers": step_with("done", lambda state, transition: transition.done.int(), "done must have dtype"),
    # purity
    **{
        f"{name} changes its input": where_it_says(
            name, altering, r"must not change its input in place \(state \d+ at ply \d+, field `turn`\)"
        )
        for name in ("to_play", "legal", "step", "observe", "heuristic", "key", "render")
    },
    "step changes the action": Broken(
        TicTacToe,
        {"step": lambda self, state, action: TicTacToe.step(self, state, action.clamp_(max=4))},
        r"step: must not change its input in place \(state \d+ at ply \d+, field `the action`\)",
    ),
    # calls that fail, and rewards
    "an action too many": Broken(
        TicTacToe, {"actions": Discrete(10), **ALL_LEGAL}, r"step: must not fail, but raised IndexError\(.*plies 0 to 0"
    ),
    "no picture": where_it_says("render", lambda state, text: text[99], "must not fail, but raised IndexError"),
    "no number as reward": step_with(
        "reward", lambda state, transition: transition.reward / transition.reward, "rewards must be finite"
    ),
}


@pytest.mark.parametrize("case", BROKEN.values(), ids=BROKEN)
def test_broken_games_are_caught(case: Broken) -> None:
    assert_caught(case)


def test_rows_agree_where_all_their_numbers_do() -> None:
    a = torch.tensor([[[1.0, 2.0]], [[3.0, math.nan]], [[5.0, 6.0]], [[math.inf, 8.0]]])
    b = torch.tensor([[[1.0, 2.0]], [[3.0, math.nan]], [[5.0, 6.5]], [[-math.inf, 8.0]]])
    assert same_rows(a, b).tolist() == [True, True, False, False]
    assert same_rows(torch.arange(3), torch.tensor([0, 1, 3])).tolist() == [True, True, False]


def test_rounding_forgives_the_last_digits_of_floats_and_nothing_of_whole_numbers() -> None:
    """A relative 1e-4, or 1e-5 near 0."""
    a, b = torch.tensor([1.0, 1.0, 0.0, 0.0]), torch.tensor([1.00009, 1.0003, 9e-6, 3e-5])
    assert same_rows(a, b, rounding=True).tolist() == [True, False, True, False]
    assert not same_rows(a, b).any()
    assert same_rows(torch.tensor([10**6]), torch.tensor([10**6 + 1]), rounding=True).tolist() == [False]


def test_a_probe_gives_the_answers_of_the_game_itself() -> None:
    """By function, and those of a move by field; a game without keys is not asked for them."""
    game = TicTacToe()
    state = random_positions(game, 6, plies=4, seed=0)
    positions = Positions(state, torch.arange(6), torch.zeros(6, dtype=torch.int64), state.done)
    actions = game.legal(state).int().argmax(1)
    answers = Probe(game).answers(positions, actions)
    after = game.step(state, actions)
    expected = {(name, ""): getattr(game, name)(state) for name in ("to_play", "legal", "observe", "heuristic", "key")}
    expected |= {("step", f"state.{name}"): field for name, field in zip(state._fields, after.state, strict=True)}
    expected |= {("step", "reward"): after.reward, ("step", "done"): after.done}
    assert answers.keys() == expected.keys()
    for name, answer in answers.items():
        assert torch.equal(answer, expected[name]), name
    assert "key" not in Probe(Walk()).queries
