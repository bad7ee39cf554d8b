"""What `check_game` returns shows a person what cannot be a promise: who wins, how long games are, what is offered."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor

from alphazero.game import Discrete, Game, Symmetry, Transition, check_game
from alphazero.game.summary import Summary
from games.connect_four import ConnectFour
from games.tic_tac_toe import TicTacToe, TicTacToeState
from tests.game.broken_games import Walk, broken
from tests.game.test_seats import Chase, ChaseState
from tests.stubs import Again, Drift, Mine, Waiting


def lines(game: Game, games: int = 200, seed: int = 0) -> dict[str, str]:
    return dict(check_game(game, games=games, seed=seed).lines)


def exact_shares() -> list[float]:
    """How often x wins, o wins and nobody does, if all moves are equally likely, by playing every game."""
    shares = [0.0, 0.0, 0.0]
    game = TicTacToe()
    states, chance = game.initial(1), torch.ones(1, dtype=torch.float64)
    while len(states.done):
        legal = game.legal(states)
        row, action = legal.nonzero().T
        chance = (chance / legal.sum(1))[row]
        after, reward, done = game.step(TicTacToeState(*(field[row] for field in states)), action)
        shares[2] += float(chance[done & (reward == 0)].sum())
        for seat in (0, 1):
            shares[seat] += float(chance[(reward == 1) & (after.turn != seat)].sum())
        states, chance = TicTacToeState(*(field[~done] for field in after)), chance[~done]
    return shares


def test_tic_tac_toe_is_as_it_is_known() -> None:
    """With 1000 games, three standard errors of a share are 4.7 points at most, and half a point is rounded away."""
    said = lines(TicTacToe(), games=1000)
    shares = [float(share) for share in re.findall(r"(\d+) %", said["wins"])]
    assert shares == pytest.approx([100 * share for share in exact_shares()], abs=5.2)
    assert said["length"].endswith(" on average, 5 to 9 moves")
    assert said["legal moves"].endswith(" on average, 1 to 9 of 9")
    assert said["rewards"].startswith("0 to 1 a move; ")
    assert said["rewards"].endswith(" on average, -1 to 1 a game for player 0")
    assert said["observation"] == "2 x 3 x 3, 0 to 1; every plane changes; 0 % stays as the turn passes"
    assert said["symmetries"] == "7; 7 seen to change positions"
    assert said["solver"].startswith("none: no player `perfect`")
    assert said["last move"].endswith("of the games, loses 0 %")


def test_a_game_for_one_has_rewards_and_no_winner() -> None:
    said = lines(Mine())
    assert "wins" not in said
    # A game earns from 0.3 - 4 * 0.05, out after four steps, to 1 - 5 * 0.05, the treasure after five.
    assert re.fullmatch(r"\S+ on average, 0.1 to 0.75 a game; \S+ on average, -0.05 to 1 a move", said["rewards"])
    assert said["key"].startswith("yes; 6 distinct ones in ")
    assert "turn" not in said["observation"]


def test_continuous_actions_have_bounds() -> None:
    assert lines(Drift())["legal moves"] == "continuous, -0.3 to 0.3, -0.2 to 0.2"


def test_several_moves_in_a_row_are_seen() -> None:
    """A third of the moves of Again are by three, or fewer where only one or two are left; in connect-four none is."""
    assert lines(ConnectFour())["players"].endswith("after 0 % the same moves on")
    share = float(lines(Again())["players"].split("after ")[1].split(" %")[0])
    assert 15 < share < 34


def test_nobody_moves_on_when_a_game_is_over() -> None:
    """A finished state may name any player, here the one who moved last."""

    def step(self: TicTacToe, state: TicTacToeState, action: Tensor) -> Transition:
        after, reward, done = TicTacToe.step(self, state, action)
        return Transition(after._replace(turn=torch.where(done, state.turn, after.turn)), reward, done)

    game = broken(TicTacToe, step=step, render=Game.render)
    assert lines(game)["players"].endswith("after 0 % the same moves on")


def test_what_a_game_does_not_offer_is_said_with_what_is_lost() -> None:
    said = lines(Walk())
    assert said["key"] == "none: nothing is cached or merged, and distinct positions are not counted"
    assert said["heuristic"] == "none: minimax sees only the ends of games within its depth"
    assert said["symmetries"] == "none: every sample teaches once"
    assert said["observation"].startswith("2, -5 to 5; every number changes")


def test_planes_that_never_change_are_named() -> None:
    def observe(self: TicTacToe, state: TicTacToeState) -> Tensor:
        seen = TicTacToe().observe(state)
        return torch.cat((seen, torch.ones_like(seen[:, :1])), 1)

    game = broken(TicTacToe, observation_shape=(3, 3, 3), observe=observe, render=Game.render)
    assert "; plane 3 never changes; " in lines(game)["observation"]


def warned(game: Game) -> list[str]:
    return check_game(game).warnings


def test_sound_games_get_no_warning() -> None:
    for game in (TicTacToe(), ConnectFour(), Again(), Mine(), Drift()):
        assert warned(game) == [], game.name


def test_a_winner_at_the_moves_of_both_is_a_warning() -> None:
    """The cat's, whoever moves, as if rewards were given to player 0; here it is meant."""
    (warning,) = warned(Chase())
    assert warning.startswith("step: player 0 wins at moves of its own and at moves of the other; is the reward")


def test_other_likely_mistakes_are_warnings() -> None:
    idle = Symmetry(lambda planes: planes.clone(), tuple(range(9)))
    (warning,) = warned(broken(TicTacToe, symmetries=lambda self: (idle, *TicTacToe().symmetries())))
    assert warning == "symmetries: nothing changes under symmetry 0"
    assert "step: every reward was 0, so there is nothing to learn" in warned(Walk())

    def legal(self: Walk, state: Any) -> Tensor:
        return torch.tensor([True, False]).expand(len(state.place), 2)

    assert "legal: nowhere was there more than one move" in warned(broken(Walk, legal=legal))


def test_slow_rules_are_a_warning() -> None:
    def observe(self: TicTacToe, state: TicTacToeState) -> Tensor:
        return torch.cat([TicTacToe.observe(self, TicTacToeState(*(field[b : b + 1] for field in state)))
                          for b in range(len(state.done)) for _ in range(2)])[::2]  # fmt: skip

    (warning,) = check_game(broken(TicTacToe, observe=observe, symmetries=lambda self: ()), games=16).warnings
    assert warning.startswith("observe takes ")


def test_the_text_fits_80_columns() -> None:
    class Wordy(Chase):
        name = "a_long_name_for_a_game"
        actions = Discrete(2)

        def step(self, state: Any, action: Tensor) -> Transition:
            return super().step(state, action)

    text = str(check_game(Wordy()))
    assert max(map(len, text.splitlines())) <= 80
    assert text.splitlines()[2].startswith("! step: player 0 wins at moves of its own")
    assert "\n  length        " in text


def test_a_summary_is_printed_label_by_label() -> None:
    summary = Summary("fine.", ["look"], [("label", "word " * 20), ("other", "more")])
    assert str(summary).splitlines() == [
        "fine.",
        "",
        "! look",
        "",
        "  label         " + "word " * 12 + "word",
        "                " + "word " * 6 + "word",
        "  other         more",
    ]


class Remembered(Chase):
    """With a key, by which a position is known again."""

    def key(self, state: ChaseState) -> Tensor:
        return ((7 * state.places[:, 0] + state.places[:, 1]) * 2 + state.turn) * 2 + state.done


def test_games_that_need_not_end_are_a_warning() -> None:
    for game in (Remembered(), Waiting()):
        assert any("a position came back within a game" in warning for warning in warned(game)), game.name
