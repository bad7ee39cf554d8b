"""What the rules of a game for two owe its players: both move, and each is served as the other would be.

Most games are the same for both players: exchange their pieces, and who moves, and the player to move faces the same
position. How to exchange them in a state, nobody has said, but its fields let guess, and the rules tell whether a
guess is right: moves and ends must be the same from the exchanged state, and lead to the exchanged successor. Then the
exchanged position must also look the same to the player to move, and the same moves must earn the same.
Where no guess is right, as in games whose players have different roles, nothing is said of these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor

from alphazero.game.interface import Game
from alphazero.game.probe import Ply, Probe
from alphazero.game.states import State, concatenate, named_fields, state_from, take

ENOUGH_GAMES = 16  # in which both players must have moved
MOST_GUESSES = 2000
FIRST_LOOK = 64  # moves that a guess is tried on before all the others

Change = Callable[[Tensor], Tensor]
Guess = Mapping[str, tuple[str, Change]]  # the field that a field is made from, and how


class _Exchanged(NamedTuple):
    """What the game says of positions and moves with the players exchanged."""

    observation: Tensor
    heuristic: Tensor
    reward: Tensor


def check_seats(probe: Probe, moves: Ply) -> None:
    """Holds a game for two to the promises about its players.

    moves: of random games, from unfinished states alone.
    """
    if probe.game.num_players != 2:
        return
    player = probe.query("to_play", moves.before)
    later = moves.before.ply > 0
    for other in (0, 1) if bool(later.any()) and int(moves.before.game.max()) + 1 >= ENOUGH_GAMES else ():
        promise = f"to_play: player {other} must move at some time, in a game for two"
        probe.require((player == other).any() | ~later, f"{promise}; player {1 - other} made all moves", moves.before)
    exchanges = list(_exchanges(probe.game, moves, player))
    _check_view(probe, moves, player, exchanges)
    _check_signs(probe, moves, exchanges)


def _check_view(probe: Probe, moves: Ply, player: Tensor, exchanges: Sequence[_Exchanged]) -> None:
    """An observation that does not turn with the players must at least tell who moves."""
    seen = probe.query("observe", moves.before).flatten(1)
    alike = [(seen == exchanged.observation.flatten(1)).all(1) for exchanged in exchanges]
    first, second = seen[player == 0], seen[player == 1]
    if any(bool(same.all()) for same in alike) or not (len(first) and len(second)):
        return
    constant = (first == first[0]).all(0) & (second == second[0]).all(0)
    if bool((constant & (first[0] != second[0])).any()):
        return
    promise = "observe: must show the position as the player to move sees it, or tell who moves"
    for same, exchanged in zip(alike, exchanges, strict=True):
        if _equal(exchanged.reward, moves.reward):
            probe.require(same, f"{promise}; with the players exchanged it shows something else", moves.before)


def _check_signs(probe: Probe, moves: Ply, exchanges: Sequence[_Exchanged]) -> None:
    """What is good for one player to move is good for the other in the same place, as far as the network can see."""
    seen, heuristic = probe.query("observe", moves.before), probe.query("heuristic", moves.before)
    alike = [exchanged for exchanged in exchanges if _equal(exchanged.observation, seen)]
    rewards, guesses = [exchanged.reward for exchanged in alike], [exchanged.heuristic for exchanged in alike]
    for numbers, others, promise in (
        (moves.reward, rewards, "step: the reward must be that of the player who moved"),
        (heuristic, guesses, "heuristic: must be a guess for the player to move"),
    ):
        opposite = bool(numbers.any()) and bool(others) and all(_equal(other, -numbers) for other in others)
        sight = "with the players exchanged it has the opposite sign, and nothing in `observe` tells who moves"
        probe.require((numbers == 0) | (not opposite), f"{promise}; {sight}", moves.before)


def _equal(a: Tensor, b: Tensor) -> bool:
    return bool(torch.isclose(a, b, rtol=1e-4, atol=1e-5).all())


# The players exchanged


class _Field(NamedTuple):
    """A field of the states: what may exchange the players in it, and what it must share with one to be swapped with.

    Compiled rules may use small numbers as places in an array, so only fields with the same bounds are swapped.
    """

    name: str
    changes: list[Change]
    kind: tuple[object, ...]


def _exchanges(game: Game, moves: Ply, player: Tensor) -> Iterator[_Exchanged]:
    """Positions and moves with the players exchanged, in each of the ways that the rules agree with."""
    states = concatenate([moves.before.state, moves.after.state])
    fields = [_Field(name, _changes(field), _kind(field)) for name, field in named_fields(states).items()]
    few = slice(FIRST_LOOK)
    for guess in islice(_guesses(fields), MOST_GUESSES):
        if _exchanged(game, guess, take(moves, few), player[few]) and (all_ := _exchanged(game, guess, moves, player)):
            yield all_


def _exchanged(game: Game, guess: Guess, moves: Ply, player: Tensor) -> _Exchanged | None:
    """Positions and moves with the players exchanged in this way; None if the rules do not agree."""

    def exchange(state: State) -> State:
        fields = named_fields(state)
        return state_from(type(state), (change(fields[source]) for source, change in map(guess.__getitem__, fields)))

    before, after = exchange(moves.before.state), exchange(moves.after.state)
    try:  # a state that cannot be may be too much for the rules
        if not torch.equal(game.to_play(before), 1 - player):
            return None
        if not torch.equal(game.legal(before), game.legal(moves.before.state)):
            return None
        successor, reward, done = game.step(before, moves.action)
        exchanged = _Exchanged(game.observe(before), game.heuristic(before), reward)
    except Exception:
        return None
    same = torch.equal(done, moves.after.done) and all(map(torch.equal, successor, after))
    return exchanged if same else None


def _guesses(fields: Sequence[_Field]) -> Iterator[dict[str, tuple[str, Change]]]:
    """Ways to exchange the players: each field is kept, changed by itself, or swapped with one of its kind."""
    if not fields:
        yield {}
        return
    field, *others = fields
    for change in field.changes:
        for rest in _guesses(others):
            yield {field.name: (field.name, change), **rest}
    for number, other in enumerate(others):
        if field.kind == other.kind:
            for rest in _guesses(others[:number] + others[number + 1 :]):
                yield {field.name: (other.name, _keep), other.name: (field.name, _keep), **rest}


def _changes(field: Tensor) -> list[Change]:
    """Nothing, or what exchanges the players where a field numbers them, has a sign for each, or a row for each."""
    low, high = _bounds(field)
    changes: list[Change] = [_keep]
    if field.dim() == 1 and low >= -1 and high == 1:  # 0 and 1; -1 may be nobody
        changes.append(lambda numbers: torch.where(numbers < 0, numbers, (numbers == 0).to(numbers.dtype)))
    if low >= 0 and high == 2:  # 1 and 2; 0 is nobody
        changes.append(lambda numbers: torch.where(numbers > 0, 3 - numbers, numbers))
    if low < 0 < high:
        changes.append(torch.neg)
    if field.dim() > 1 and field.shape[1] == 2 and _kind(field[:, 0]) == _kind(field[:, 1]):
        changes.append(lambda rows: rows.flip(1))
    return changes


def _keep(field: Tensor) -> Tensor:
    return field


def _kind(field: Tensor) -> tuple[object, ...]:
    low, high = _bounds(field)
    return field.shape[1:], field.dtype, low, high if high < 256 else len(bin(int(high)))


def _bounds(field: Tensor) -> tuple[float, float]:
    low, high = field.double().aminmax() if field.numel() else torch.zeros(2)
    return float(low), float(high)
