"""Arrays in files, checked before they are believed: no size is trusted, and nothing is allocated before its form fits.

A schema says which arrays a file holds, and the form of each: its type, its shape, the range of its numbers. The
schemas of a run's files follow from its game. Engines write their arrays as they are, so a file that is compressed is
none of theirs, and no file takes more memory than it takes on disk.
"""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from alphazero.game import Game, State, batch_size, box_of, named_fields, num_actions, take
from alphazero.game.messages import foreign_errors, printable
from alphazero.replay import Arrays, state_of
from alphazero.selfplay import Trajectories

FLOAT32 = float(np.finfo(np.float32).max)
CHUNK = 1 << 15  # positions that a game is asked about at once


class Form(NamedTuple):
    """What an array must be.

    shape:     numbers, and symbols: each stands for the same size wherever it is in a file.
    low, high: the least and the greatest number; infinite ones never fit.
    any_number: also infinite ones and NaN, as a game's own states may hold.
    """

    dtype: np.dtype[Any]
    shape: tuple[int | str, ...]
    low: float = -FLOAT32
    high: float = FLOAT32
    any_number: bool = False


Schema = Mapping[str, Form]
float32, int8, int32, int64 = map(np.dtype, (np.float32, np.int8, np.int32, np.int64))
COUNT = Form(int64, (), 0, 1 << 62)


def read_arrays(path: Path, schema_of: Callable[[Collection[str]], Schema]) -> Arrays:
    """The arrays in a file, by name. ValueError if they are not what `schema_of` says about files with these names."""
    if not path.is_file():
        raise ValueError(f"{path.name} is no file")
    with foreign_errors(f"{path.name} is no file of arrays"):
        archive = zipfile.ZipFile(path)
    with archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        if len(members) < len(archive.infolist()):
            raise ValueError(f"{path.name} holds several arrays of one name")
        if len(members) != _members(path):  # zipfile skips some where a length in their list is wrong
            raise ValueError(f"{path.name} has a damaged list of its arrays")
        if any(info.compress_type != zipfile.ZIP_STORED for info in members.values()):
            raise ValueError(f"{path.name} is compressed, and was not made here")
        if sum(info.file_size for info in members.values()) > path.stat().st_size:
            raise ValueError(f"{path.name} promises more than it holds")
        schema = schema_of(members.keys())
        if names := schema.keys() ^ members.keys():
            name = min(names)
            raise ValueError(f"{path.name} {'lacks' if name in schema else 'also holds'} {printable(name)}")
        sizes: dict[str, int] = {}
        for name, form in schema.items():
            with foreign_errors(f"{path.name} holds no array {name}"):
                found = _form(archive, members[name])
            if fault := _fault(found, form, sizes):
                raise ValueError(f"{name} in {path.name} is {fault}")
        arrays = {}
        for name, form in schema.items():
            with foreign_errors(f"{name} in {path.name} is damaged"), archive.open(members[name]) as file:
                arrays[name] = np.lib.format.read_array(file, allow_pickle=False)
                file.read()  # the end, where the check sum is compared
            if not _in_range(arrays[name], form):
                limits = "" if form.dtype == bool else f" from {form.low:g} to {form.high:g}"
                raise ValueError(f"{name} in {path.name} has values other than {form.dtype} numbers{limits}")
    return arrays


def _members(path: Path) -> int:
    """How many members a zip archive without a comment says that it has, in its last record (APPNOTE.TXT, 4.3.16).

    -1 if that is no such record, or there is more than it in an archive without members.
    """
    with path.open("rb") as file:
        before = file.seek(-22, os.SEEK_END)
        end = file.read()
    count = int.from_bytes(end[10:12], "little")
    return count if end.startswith(b"PK\5\6") and (count or not before) else -1


def _form(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Form:
    """The form that the array's header tells. An exception of any kind if it does not fit the member's size."""
    with archive.open(member) as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("of another version")
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        if not dtype.hasobject and file.tell() + math.prod(shape) * dtype.itemsize != member.file_size:
            raise ValueError(f"of {printable(shape)} {dtype}, but its size is another")
    return Form(dtype, shape)


def _fault(found: Form, wanted: Form, sizes: dict[str, int]) -> str:
    """Why the array is none of the wanted form; empty if it is. sizes: those of the symbols so far, and from here."""
    fits = len(found.shape) == len(wanted.shape)
    for size, expected in zip(found.shape, wanted.shape, strict=False):
        fits &= size == (sizes.setdefault(expected, int(size)) if isinstance(expected, str) else expected)
    if fits and found.dtype == wanted.dtype:
        return ""
    expected_shape = [sizes.get(size, size) if isinstance(size, str) else size for size in wanted.shape]
    words = ", ".join(str(size).rpartition("/")[2] for size in expected_shape)
    return f"{found.dtype} {printable(list(found.shape))}, not {wanted.dtype} [{words}]"


def _in_range(array: np.ndarray, form: Form) -> bool:
    if form.dtype == bool:  # whose bytes may be others than 0 and 1
        return array.size == 0 or bool(array.reshape(-1).view(np.uint8).max() <= 1)
    if form.any_number or array.size == 0:
        return True
    return bool(array.min() >= form.low and array.max() <= form.high)  # neither if one is NaN


# --- The files of a run


def read_samples(path: Path, game: Game) -> Arrays:
    """What `Replay.arrays` returned. ValueError if the file holds anything else."""
    arrays = read_arrays(path, partial(_replay, game))
    if "policy" in arrays:
        if arrays["seen"] < len(arrays["policy"]):
            raise ValueError(f"seen in {path.name} is less than the {len(arrays['policy']):,} samples there")
        check_positions(game, state_of(game, arrays, "state"), path.name)
        if any(name.startswith("end.") for name in arrays):
            check_positions(game, state_of(game, arrays, "end"), path.name, finished=True)
    return arrays


def read_streams(path: Path, game: Game) -> dict[int, Arrays]:
    """What `SelfPlay.arrays` returned, by the stream's number. ValueError if the file holds anything else."""
    parts = unnumbered(read_arrays(path, partial(_streams, game)))
    for number, arrays in parts.items():
        _trajectories(path, game, number, arrays)
        check_positions(game, state_of(game, arrays, "now"), path.name)
    return parts


def read_trajectories(path: Path, game: Game) -> dict[int, Trajectories]:
    """The games that were saved, by the stream's number. ValueError if the file holds anything else."""
    parts = unnumbered(read_arrays(path, partial(_games, game, slots=1)))
    games = {number: _trajectories(path, game, number, arrays) for number, arrays in parts.items()}
    if not games or any(game.length[0] < 1 for game in games.values()):
        raise ValueError(f"{path.name} holds no game, or one without a move")
    return games


def read_policies(path: Path, game: Game, positions: int) -> Arrays:
    """Policies of so many positions, by the iteration. ValueError if the file holds anything else."""

    def schema(names: Collection[str]) -> Schema:
        return {str(_number(name)): Form(float32, (positions, num_actions(game)), 0, 1.001) for name in names}

    return read_arrays(path, schema)


def check_positions(game: Game, states: State, source: str, *, finished: bool = False) -> None:
    """ValueError if the game does not know one of these states, or a function of its fails on them.

    finished: whether they may be; then nothing is asked but whose turn it is.
    """
    for start in range(0, batch_size(states), CHUNK):
        part = take(states, slice(start, start + CHUNK))
        with foreign_errors(f"{source} holds positions that {game.name} does not know"):
            mover = game.to_play(part)
            known = (mover >= 0) & (mover < game.num_players)
            if not finished:
                known &= game.observe(part).isfinite().flatten(1).all(1)
                known &= game.legal(part).any(1) | torch.tensor(not game.discrete)
        if not known.all():
            raise ValueError(f"{source} holds positions that {game.name} does not know")


def unnumbered(arrays: Arrays) -> dict[int, Arrays]:
    """The sets that `numbered` joined."""
    parts: dict[int, Arrays] = {}
    for name, array in arrays.items():
        number, _, rest = name.partition("/")
        parts.setdefault(_number(number), {})[rest] = array
    return dict(sorted(parts.items()))


def numbered(parts: Mapping[int, Arrays]) -> Arrays:
    """Joins several sets of arrays into one; each name gets its set's number in front."""
    return {f"{number}/{name}": array for number, part in parts.items() for name, array in part.items()}


def _number(text: str) -> int:
    if not (text.isdecimal() and text.isascii() and len(text) < 10):
        raise ValueError(f"{printable(text)} is no number of a stream or an iteration")
    return int(text)


def _choices(game: Game) -> tuple[int | str, tuple[int | str, int]]:
    """How many actions a policy is about, and the shape of those that were sampled; see `Samples`."""
    return (num_actions(game), (0, 0)) if game.discrete else ("K", ("K", len(box_of(game).low)))


def _states(game: Game, prefix: str, *leading: int | str) -> dict[str, Form]:
    fields = named_fields(game.initial(1, generator=torch.Generator().manual_seed(0)))
    return {
        f"{prefix}.{name}": Form(field.numpy().dtype, (*leading, *field.shape[1:]), any_number=True)
        for name, field in fields.items()
    }


def _replay(game: Game, names: Collection[str]) -> Schema:
    if set(names) == {"seen"}:  # of a run that has played no game yet
        return {"seen": COUNT}
    choices, sampled = _choices(game)
    number, count = Form(float32, ("M",)), Form(int32, ("M",), 0, np.iinfo(np.int32).max)
    share = number._replace(low=0, high=1)
    forms = _states(game, "state", "M") | {
        "policy": Form(float32, ("M", choices), 0, 1.001),
        "value": number,
        "outcome": number,
        "drawn": share,
        "root_value": number,
        # Runs of the version before call plies turns.
        "turns_left" if "turns_left" in names else "plies_left": count,
        "iteration": count,
        "weight": number._replace(low=0),
        "sampled": Form(float32, ("M", *sampled)),
        "played_out": share,
        "seen": COUNT,
    }
    forms |= _states(game, "end", "M")
    return _without_the_newest(forms, names)


def _games(game: Game, names: Collection[str], *, slots: int | None = None) -> Schema:
    """Of trajectories in parts with a number, each with symbols of its own. slots: games in each, if that is known."""
    choices, sampled = _choices(game)
    forms: dict[str, Form] = {}
    for part in {_number(name.partition("/")[0]) for name in names}:
        of_all = (f"{part}/G" if slots is None else slots, f"{part}/T")
        number = Form(float32, of_all)
        most = num_actions(game) - 1 if game.discrete else FLOAT32
        fields = _states(game, "states", *of_all) | {
            "action": Form(int64, of_all, 0, most),
            "policy": Form(float32, (*of_all, choices), 0, 1.001),
            "root_value": number,
            "reward": number,
            "surprise": number._replace(low=0),
            "mover": Form(int8, of_all, 0, game.num_players - 1),
            "sampled": Form(float32, (*of_all, *sampled)),
            "length": Form(int64, of_all[:1], 0, FLOAT32),
        }
        own = {name.partition("/")[2] for name in names if name.startswith(f"{part}/")}
        forms |= {f"{part}/{name}": form for name, form in _without_the_newest(fields, own).items()}
    return forms


def _streams(game: Game, names: Collection[str]) -> Schema:
    forms = dict(_games(game, names))
    for part in {name.partition("/")[0] for name in forms}:
        of_part = _states(game, "now", f"{part}/G") | {"moves_played": Form(int64, (f"{part}/G",), 0, FLOAT32)}
        # Older runs call segments turns; the oldest do not count them.
        of_part |= {name: COUNT for name in ("segments", "turns") if f"{part}/{name}" in names}
        forms |= {f"{part}/{name}": form for name, form in of_part.items()}
    return forms


def _without_the_newest(forms: dict[str, Form], names: Collection[str]) -> dict[str, Form]:
    """Runs of the version before know neither surprise nor ends nor resignation, the oldest no sampled actions."""
    newest = {"sampled", "surprise", "played_out"} - set(names)
    if not any(name.startswith("end.") for name in names):
        newest |= {name for name in forms if name.startswith("end.")}
    return {name: form for name, form in forms.items() if name not in newest}


def _trajectories(path: Path, game: Game, number: int, arrays: Arrays) -> Trajectories:
    """ValueError unless every game's moves are in the room for them, and its positions and choices are possible."""
    games = Trajectories.from_arrays(game, arrays)
    made = torch.arange(games.action.shape[1]) < games.length[:, None]
    if (games.length > games.action.shape[1]).any() or (games.action[made] >= games.policy.shape[2]).any():
        raise ValueError(f"{path.name} has games of more moves or choices than it holds, in stream {number}")
    positions = take(games.states, made)
    check_positions(game, positions, path.name)
    if not torch.equal(game.to_play(positions), games.mover[made]):
        raise ValueError(f"{path.name} has moves of the player whose turn it is not, in stream {number}")
    return games
