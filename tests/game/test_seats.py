"""`check_game` sees whether both players move, and whether each is served as the other would be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import pytest
import torch
from torch import Tensor

from alphazero.game import Discrete, Game, State, Transition, check_game
from alphazero.game.conformance import ConformanceError
from games.connect_four import ConnectFour
from games.tic_tac_toe import TicTacToe, TicTacToeState
from tests.game.broken_games import broken
from tests.stubs import Again

BITS = 1 << torch.arange(9)


class Marks(NamedTuple):
    """x, o: [B] int16, the marks of player 0 and of player 1."""

    x: Tensor
    o: Tensor
    turn: Tensor
    done: Tensor


class Cells(NamedTuple):
    """cells: [B, 9] int8, 0 empty, 1 player 0's, 2 player 1's; winner: [B] int8, who won, -1 nobody."""

    cells: Tensor
    turn: Tensor
    winner: Tensor
    done: Tensor


class Signs(NamedTuple):
    """cells: [B, 9] float32, 0 empty, 1 player 0's, -1 player 1's; sign: [B] int64, 1 or -1, who moves."""

    cells: Tensor
    sign: Tensor
    done: Tensor


class Boards(NamedTuple):
    """boards: [B, 2, 9] bool, the marks of player 0 and of player 1; first: [B] bool, whether player 0 moves."""

    boards: Tensor
    first: Tensor
    done: Tensor


def by_player(state: TicTacToeState) -> Tensor:
    """[B, 2, 9] bool, the marks of player 0 and of player 1."""
    boards = (torch.stack((state.mine, state.theirs), 1)[:, :, None] & BITS) != 0
    return torch.where(state.turn[:, None, None] == 0, boards, boards.flip(1))


def by_mover(boards: Tensor, turn: Tensor, done: Tensor) -> TicTacToeState:
    boards = torch.where(turn[:, None, None] == 0, boards, boards.flip(1))
    mine, theirs = (boards * BITS).sum(-1).to(torch.int16).unbind(1)
    return TicTacToeState(mine, theirs, turn.to(torch.int8), done)


def lined(marks: Tensor) -> Tensor:
    """[B] bool, whether the marks [B, 9] hold three in a row."""
    rows = marks.view(-1, 3, 3)
    straight = rows.all(1).any(1) | rows.all(2).any(1)
    return straight | marks[:, [0, 4, 8]].all(1) | marks[:, [2, 4, 6]].all(1)


def to_marks(state: TicTacToeState) -> Marks:
    x, o = (by_player(state) * BITS).sum(-1).to(torch.int16).unbind(1)
    return Marks(x, o, state.turn, state.done)


def from_marks(state: Marks) -> TicTacToeState:
    boards = (torch.stack((state.x, state.o), 1)[:, :, None] & BITS) != 0
    return by_mover(boards, state.turn, state.done)


def to_cells(state: TicTacToeState) -> Cells:
    x, o = by_player(state).unbind(1)
    winner = torch.where(lined(x), 0, torch.where(lined(o), 1, -1)).to(torch.int8)
    return Cells(x.to(torch.int8) + 2 * o.to(torch.int8), state.turn, winner, state.done)


def from_cells(state: Cells) -> TicTacToeState:
    return by_mover(torch.stack((state.cells == 1, state.cells == 2), 1), state.turn, state.done)


def to_signs(state: TicTacToeState) -> Signs:
    x, o = by_player(state).unbind(1)
    return Signs(x.float() - o.float(), 1 - 2 * state.turn.long(), state.done)


def from_signs(state: Signs) -> TicTacToeState:
    return by_mover(torch.stack((state.cells > 0, state.cells < 0), 1), state.sign < 0, state.done)


def to_boards(state: TicTacToeState) -> Boards:
    return Boards(by_player(state), state.turn == 0, state.done)


def from_boards(state: Boards) -> TicTacToeState:
    return by_mover(state.boards, ~state.first, state.done)


class Kept(TicTacToe):
    """Tic-tac-toe whose states are kept in another way."""

    encode: Callable[[TicTacToeState], Any]
    decode: Callable[[Any], TicTacToeState]

    def initial(self, batch: int, *, generator: torch.Generator | None = None) -> Any:
        return self.encode(super().initial(batch, generator=generator))

    def to_play(self, state: Any) -> Tensor:
        return super().to_play(self.decode(state))

    def legal(self, state: Any) -> Tensor:
        return super().legal(self.decode(state))

    def step(self, state: Any, action: Tensor) -> Any:
        after, reward, done = super().step(self.decode(state), action)
        return Transition(self.encode(after), reward, done)

    def observe(self, state: Any) -> Tensor:
        return super().observe(self.decode(state))

    def key(self, state: Any) -> Tensor:
        return super().key(self.decode(state))

    def heuristic(self, state: Any) -> Tensor:
        return super().heuristic(self.decode(state))


def kept(kind: type[State], encode: Any, decode: Any) -> type[Game]:
    changes = {"state_type": kind, "encode": staticmethod(encode), "decode": staticmethod(decode)}
    return cast(type[Game], type(f"Kept{kind.__name__}", (Kept,), changes))


FAIR = [
    TicTacToe,
    ConnectFour,
    kept(Marks, to_marks, from_marks),
    kept(Cells, to_cells, from_cells),
    kept(Signs, to_signs, from_signs),
    kept(Boards, to_boards, from_boards),
]


def for_first(name: str, base: type[Game]) -> Game:
    """The game with a method that answers for player 0, whoever moves: its sign, or the order of two planes."""

    def method(self: Game, state: Any, *action: Tensor) -> Any:
        answer = getattr(base, name)(self, state, *action)
        second = self.to_play(state) == 1
        if name == "step":
            return answer._replace(reward=torch.where(second, -answer.reward, answer.reward))
        if name == "heuristic":
            return torch.where(second, -answer, answer)
        return torch.where(second[:, None, None, None], answer.flip(1), answer)

    return broken(base, **{name: method})


@pytest.mark.parametrize("base", FAIR)
def test_sound_games_pass_however_their_states_are_kept(base: type[Game]) -> None:
    check_game(base())


@pytest.mark.parametrize("base", FAIR)
@pytest.mark.parametrize(
    ("name", "promise"),
    [
        ("step", "the reward must be that of the player who moved"),
        ("heuristic", "must be a guess for the player to move"),
        ("observe", "must show the position as the player to move sees it, or tell who moves"),
    ],
)
def test_answers_for_player_0_are_caught(base: type[Game], name: str, promise: str) -> None:
    with pytest.raises(ConformanceError, match=rf"^{name}: {promise}; with the players .* \(state \d+ at ply \d+\)\n"):
        check_game(for_first(name, base), games=16)


def test_rewards_for_player_1_are_caught_too() -> None:
    """Those for player 0, with the opposite sign."""

    def step(self: TicTacToe, state: TicTacToeState, action: Tensor) -> Transition:
        after, reward, done = TicTacToe.step(self, state, action)
        return Transition(after, torch.where(state.turn == 1, reward, -reward), done)

    with pytest.raises(ConformanceError, match=r"^step: the reward must be that of the player who moved"):
        check_game(broken(TicTacToe, step=step))


@pytest.mark.parametrize("player", [0, 1])
@pytest.mark.parametrize("base", [TicTacToe, ConnectFour, Again])
def test_a_player_who_never_moves_is_named(base: type[Game], player: int) -> None:
    game = broken(base, to_play=lambda self, state: torch.full_like(state.turn, 1 - player))
    said = rf"^to_play: player {player} must move at some time, in a game for two; player {1 - player} made all moves"
    with pytest.raises(ConformanceError, match=rf"{said} \(state \d+ at ply 1\)\n"):
        check_game(game, games=16)


def test_few_games_say_nothing_about_who_moves() -> None:
    """In games such as Again, one player may make all moves by chance."""
    check_game(broken(TicTacToe, to_play=lambda self, state: torch.zeros_like(state.turn)), games=15)


class WithTurn(TicTacToe):
    """Shows x and o, and who moves: nothing is hidden from the network."""

    name = "with_turn"
    observation_shape = (3, 3, 3)

    def observe(self, state: TicTacToeState) -> Tensor:
        planes = by_player(state).float().view(-1, 2, 3, 3)
        return torch.cat((planes, state.turn.float()[:, None, None, None].expand(-1, 1, 3, 3)), 1)

    render = Game.render


class DrawsCount(TicTacToe):
    """A full board is a win for o, so that the players are not alike."""

    name = "draws_count"

    def step(self, state: TicTacToeState, action: Tensor) -> Transition:
        after, reward, done = super().step(state, action)
        drawn = done & ~state.done & (reward == 0)
        return Transition(after, torch.where(drawn, 2.0 * state.turn - 1, reward), done)


class Misere(TicTacToe):
    """Three in a row lose."""

    name = "misere"

    def step(self, state: TicTacToeState, action: Tensor) -> Transition:
        after, reward, done = super().step(state, action)
        return Transition(after, -reward, done)


class ChaseState(NamedTuple):
    """places: [B, 2] int64, of the cat and of the mouse on a ring of seven; turn: [B] int8; done: [B] bool."""

    places: Tensor
    turn: Tensor
    done: Tensor


class Chase(Game[ChaseState]):
    """Cat and mouse: the cat wins where they meet, whoever moved there. The observation says who moves."""

    name = "chase"
    num_players = 2
    actions = Discrete(2)
    observation_shape = (3, 7)

    def initial(self, batch: int, *, generator: torch.Generator | None = None) -> ChaseState:
        turn = torch.zeros(batch, dtype=torch.int8)
        return ChaseState(torch.tensor([0, 3]).repeat(batch, 1), turn, turn.bool())

    def to_play(self, state: ChaseState) -> Tensor:
        return state.turn

    def legal(self, state: ChaseState) -> Tensor:
        return torch.ones((len(state.turn), 2), dtype=torch.bool)

    def step(self, state: ChaseState, action: Tensor) -> Transition:
        stride = (2 * action - 1)[:, None] * (torch.arange(2) == state.turn[:, None]) * ~state.done[:, None]
        places = (state.places + stride) % 7
        met = places[:, 0] == places[:, 1]
        reward = torch.where(met & ~state.done, 1.0 - 2 * state.turn, 0.0)
        return Transition(ChaseState(places, state.turn ^ ~state.done, met), reward, met)

    def observe(self, state: ChaseState) -> Tensor:
        places = torch.nn.functional.one_hot(state.places, 7).float()
        return torch.cat((places, state.turn.float()[:, None, None].expand(-1, 1, 7)), 1)


@pytest.mark.parametrize("game", [WithTurn(), DrawsCount(), Misere(), Chase()], ids=lambda game: game.name)
@pytest.mark.parametrize("seed", range(3))
def test_players_may_have_different_roles_where_the_network_can_see_them(game: Game, seed: int) -> None:
    check_game(game, seed=seed)


def test_a_view_is_free_where_the_rules_are_not_the_same_for_both() -> None:
    """Whoever plays o, for whom draws count, may look at the board as x does."""
    check_game(for_first("observe", DrawsCount))


def test_roles_that_the_network_cannot_see_are_named() -> None:
    """Each animal sees itself first, and so not which it is."""

    def observe(self: Chase, state: ChaseState) -> Tensor:
        planes = Chase.observe(self, state)[:, :2]
        return torch.where(state.turn[:, None, None] == 0, planes, planes.flip(1))

    with pytest.raises(ConformanceError, match=r"^step: .*nothing in `observe` tells who moves"):
        check_game(broken(Chase, observation_shape=(2, 7), observe=observe))


@pytest.mark.parametrize("name", ["step", "legal", "observe", "heuristic"])
def test_rules_may_refuse_states_that_cannot_be(name: str) -> None:
    """In tic-tac-toe x has as many marks as o, or one more."""

    def method(self: TicTacToe, state: TicTacToeState, *action: Tensor) -> Any:
        x, o = by_player(state).sum(2).unbind(1)
        if not bool(((x - o == 0) | (x - o == 1)).all()):
            raise ValueError("no such position")
        return getattr(TicTacToe, name)(self, state, *action)

    check_game(broken(TicTacToe, **{name: method}))
