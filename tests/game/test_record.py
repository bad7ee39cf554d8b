"""A game's record: moves as text, taking back, mirror images."""

from __future__ import annotations

from contextlib import suppress

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alphazero.game import check_game
from alphazero.game.record import Record, format_moves, parse_moves
from games.connect_four import ConnectFour
from games.tic_tac_toe import TicTacToe, TicTacToeState
from tests.game.broken_games import broken

CONNECT_FOUR, TIC_TAC_TOE = ConnectFour(), TicTacToe()


@pytest.mark.parametrize(
    ("game", "text", "actions"),
    [
        (CONNECT_FOUR, "4453", [3, 3, 4, 2]),
        (CONNECT_FOUR, " 4 4,5\n3 ", [3, 3, 4, 2]),
        (CONNECT_FOUR, "", []),
        (TIC_TAC_TOE, "a3 b2,c1", [0, 4, 8]),
        (TIC_TAC_TOE, "a3", [0]),
    ],
)
def test_moves_are_read_with_and_without_spaces(game: ConnectFour, text: str, actions: list[int]) -> None:
    assert parse_moves(game, text) == actions
    assert parse_moves(game, format_moves(game, actions)) == actions


@given(st.lists(st.integers(0, 8), max_size=9), st.sampled_from([CONNECT_FOUR, TIC_TAC_TOE]))
def test_a_game_as_text_is_the_same_game_and_undo_goes_back_step_by_step(choices: list[int], game: ConnectFour) -> None:
    record = Record(game)
    seen = [record.state]
    for choice in choices:
        legal = record.legal()
        if legal:
            record.play(legal[choice % len(legal)])
            seen.append(record.state)
    again = Record(game, record.moves)
    assert [game.render(state) for state in again.states] == [game.render(state) for state in seen]
    assert (again.score, again.finished) == (record.score, record.finished)
    for state in reversed(seen[:-1]):
        record.undo()
        assert game.render(record.state) == game.render(state)
        assert not record.finished
        assert record.score == 0


def test_who_wins_is_counted_for_the_first_player() -> None:
    assert (Record(CONNECT_FOUR, "1212121").score, Record(CONNECT_FOUR, "1212127").score) == (1, 0)
    second = Record(CONNECT_FOUR, "71212121")
    assert (second.score, second.finished) == (-1, True)


def test_a_mirror_image_is_the_board_turned_over() -> None:
    mirrored = Record(CONNECT_FOUR, "1123").mirrored()
    assert mirrored.moves == "7765"
    original = CONNECT_FOUR.observe(Record(CONNECT_FOUR, "1123").state)
    assert torch.equal(CONNECT_FOUR.observe(mirrored.state), original.flip(-1))
    for number, symmetry in enumerate(TIC_TAC_TOE.symmetries()):
        record = Record(TIC_TAC_TOE, "a3 b3 c1 a2")
        turned = TIC_TAC_TOE.observe(record.mirrored(number).state)
        assert torch.equal(turned, symmetry.observation(TIC_TAC_TOE.observe(record.state)))


@pytest.mark.parametrize(
    ("moves", "complaint"),
    [
        ("1111111", "move 7 of '1111111': 1 is not legal here; legal: 2, 3, 4, 5, 6, 7"),
        ("12121211", "move 8 of '12121211': the game is over"),
        ("18", "no action is called '8'"),
    ],
)
def test_moves_that_cannot_be_played_are_named(moves: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Record(CONNECT_FOUR, moves)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cell {}", "cell 4, cell 0, cell 8"),
        ("cell, {}", "cell, 4; cell, 0; cell, 8"),
        ("cell,{}", "cell,4 cell,0 cell,8"),
        ("a;b {}", "a;b 4, a;b 0, a;b 8"),
    ],
)
def test_names_of_several_words_are_read_back(name: str, text: str) -> None:
    game = broken(TicTacToe, action_name=lambda self, action: name.format(action))
    check_game(game, games=8)
    assert format_moves(game, [4, 0, 8]) == text
    assert parse_moves(game, f" {text}\n") == parse_moves(game, text.replace("; ", "\n")) == [4, 0, 8]
    assert Record(game, text).actions == [4, 0, 8]


class UnevenStart(TicTacToe):
    """x has the middle of the left side from the start, so that turning the board over sideways leads elsewhere."""

    def initial(self, batch: int, *, generator: torch.Generator | None = None) -> TicTacToeState:
        empty = super().initial(batch, generator=generator)
        return super().step(empty, torch.full((batch,), 3)).state


def test_a_start_that_is_not_its_own_mirror_image_has_only_the_images_that_keep_it() -> None:
    game = UnevenStart()
    record = Record(game, "b2 a3")
    mirrored = {}
    for number in range(7):
        with suppress(ValueError):
            mirrored[number] = record.mirrored(number)
    # Of the square's seven symmetries, upside down alone keeps the left side on the left.
    ((number, image),) = mirrored.items()
    assert image.moves == "b2 a1"
    expected = game.symmetries()[number].observation(game.observe(record.state))
    assert torch.equal(game.observe(image.state), expected)


def test_there_is_nothing_to_take_back_at_the_start() -> None:
    with pytest.raises(ValueError, match="no move to take back"):
        Record(CONNECT_FOUR).undo()


def test_several_moves_are_taken_back_at_once_or_none() -> None:
    record = Record(CONNECT_FOUR, "44536")
    record.undo(3)
    assert record.moves == "44"
    assert Record(CONNECT_FOUR, "44").scores == record.scores
    with pytest.raises(ValueError, match="only 2 can be taken back, not 3"):
        record.undo(3)
    assert record.moves == "44"
    record.undo(2)
    assert record.moves == ""
