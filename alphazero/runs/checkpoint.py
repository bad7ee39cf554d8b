"""Checkpoints of a run: saved whole, read back safely, removed when they are old.

A checkpoint is written under a temporary name, flushed, and renamed as a whole, so that weights,
buffer and games under way always belong together. `state.json` holds a digest of every file: one
that was cut short or altered is noticed. Nothing that is read can run code: safetensors, arrays
without objects, JSON, and torch's tensors-only format.

Everything to continue a run is kept for the last two checkpoints; older ones keep the network
alone, and of those only the ones that were measured. Games are kept for longer, and then as sparsely.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, NamedTuple

import safetensors.torch
import torch
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from alphazero.config import Config, Count, NetworkConfig, ReplayConfig
from alphazero.game import Game
from alphazero.game.messages import printable, unquoted
from alphazero.learner import Learner
from alphazero.network.architectures import InferenceModule, inference_module, make_network
from alphazero.replay import Replay, Samples, to_arrays
from alphazero.runs import files
from alphazero.runs.arrays import numbered, read_samples, read_streams, read_trajectories
from alphazero.runs.configuration import describe_faults, load_config, to_toml
from alphazero.runs.files import CHECKPOINTS, LIGHT, WHOLE, RunError
from alphazero.runs.tensors import read_optimizer, read_tensors
from alphazero.selfplay import SelfPlay, Trajectories

FORMAT, UNSIGNED = 2, 1  # of state.json; older ones have no digest of themselves
RECENT_GAMES = 100  # iterations of which all games are kept
Seconds = Annotated[float, Field(ge=0, le=1e12, strict=True)]
ANOTHER = "name another checkpoint, or move this one away to go on from the one before"


class Progress(NamedTuple):
    """How far a run has come.

    iteration:    number of iterations done.
    new_samples:  samples not learned from yet, from which the next iteration's steps follow.
    core_seconds: CPU time of self-play and learning so far.
    seconds:      wall-clock time so far, of everything; 0 in checkpoints of older versions.
    """

    iteration: int = 0
    new_samples: int = 0
    core_seconds: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))
class State:
    """What state.json says of its checkpoint.

    steps:  of the learner so far.
    sha256: digests of the checkpoint's other files, by name.
    digest: of all else in state.json; checkpoints of format 1 have none.
    The other fields are those of `Progress`.
    """

    format: int
    game: str
    steps: Count
    iteration: Count
    new_samples: Count
    core_seconds: Seconds
    sha256: dict[str, str]
    seconds: Seconds = 0.0
    digest: str | None = None

    def signed(self) -> State:
        """The same with its digest."""
        content = {name: value for name, value in asdict(self).items() if name != "digest"}
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        return replace(self, digest=digest)


def create_run(folder: Path, config: Config) -> None:
    """Makes the folder of a new run. RunError if it exists already, or cannot be written."""
    with files.clear_errors(folder):
        there = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
        try:
            if not there:
                (folder / CHECKPOINTS).mkdir(parents=True)
        except FileExistsError:  # another process has just made it
            there = True
    if there:
        fix = f"continue it with --resume {folder}" if (folder / files.CONFIG).exists() else "it is no run"
        raise RunError(f"{folder} exists already ({fix}); name another folder with --run")
    write_config(folder, config)


def write_config(folder: Path, config: Config) -> None:
    with files.clear_errors(folder):
        files.write_file(folder / files.CONFIG, to_toml(config).encode())


def read_config(folder: Path) -> Config:
    """The configuration of a run. RunError if the folder is not one."""
    if not (folder / files.CONFIG).is_file() or not (folder / CHECKPOINTS).is_dir():
        raise RunError(f"{folder} is not a run: it has no config.toml with checkpoints/ beside it")
    return load_config(folder / files.CONFIG)


def save_checkpoint(
    folder: Path, game: Game, progress: Progress, learner: Learner, replay: Replay, streams: Sequence[SelfPlay]
) -> None:
    """Writes the checkpoint of `progress.iteration`. RunError if there is no room for it."""
    final = folder / CHECKPOINTS / f"{progress.iteration:06d}"
    tensors = {name: tensor.contiguous().cpu() for name, tensor in learner.tensors().items()}
    games = numbered(dict(enumerate(stream.arrays() for stream in streams)))
    # By way of memory: torch's own writer reports a full disk in several ways, none of them an OSError.
    optimizer = io.BytesIO()
    torch.save(learner.optimizer.state_dict(), optimizer)
    with files.clear_errors(folder):
        with files.atomic(final) as unfinished:
            unfinished.mkdir()
            files.write_file(unfinished / "model.safetensors", safetensors.torch.save(tensors))
            files.write_file(unfinished / "optimizer.pt", optimizer.getvalue())
            files.save_arrays(unfinished / "replay.npz", replay.arrays())
            files.save_arrays(unfinished / "streams.npz", games)
            digests = {path.name: files.digest(path) for path in sorted(unfinished.iterdir())}
            state = State(FORMAT, game.name, learner.steps, sha256=digests, **progress._asdict()).signed()
            files.write_json(unfinished / "state.json", asdict(state))
        files.flush(final.parent)


def save_games(folder: Path, iteration: int, games: Mapping[int, Trajectories]) -> None:
    """Writes games that ended in an iteration, by stream, for later reports. RunError if there is no room."""
    if not games:
        return
    with files.clear_errors(folder):
        (folder / files.GAMES).mkdir(exist_ok=True)
        arrays = numbered({stream: to_arrays(game) for stream, game in games.items()})
        files.save_arrays(folder / files.GAMES / f"{iteration:06d}.npz", arrays)


def kept_games(folder: Path) -> list[int]:
    """The iterations of which the run has games, in order."""
    return sorted(int(path.stem) for path in (folder / files.GAMES).glob("*.npz") if path.stem.isdecimal())


def prune_games(folder: Path, *, every: int) -> None:
    """Keeps the games of the last iterations; of older ones, those of every `every`-th (0: of none)."""
    for iteration in kept_games(folder)[:-RECENT_GAMES]:
        if not every or iteration % every:
            (folder / files.GAMES / f"{iteration:06d}.npz").unlink(missing_ok=True)


def load_games(folder: Path, iteration: int, game: Game) -> dict[int, Trajectories]:
    """The games that `save_games` wrote, by stream. RunError if there are none or they cannot be read."""
    path = folder / files.GAMES / f"{iteration:06d}.npz"
    if not path.is_file():
        there = kept_games(folder)
        known = f"it has games of iterations {there[0]} to {there[-1]}" if there else "it has no games at all"
        raise RunError(f"{folder} has no game of iteration {iteration}; {known}")
    with files.reading(path, "name another iteration, or move the file away"):
        return read_trajectories(path, game)


def prune_checkpoints(folder: Path, *, every: int, thorough: bool = False) -> None:
    """Keeps the last two whole; of older ones, the network of every `every`-th (0: of none). No unfinished ones.

    thorough: looks at all; otherwise at those that the last saves have made old, for a long run has many.
    """
    for path in (folder / CHECKPOINTS).glob(".*.unfinished"):
        files.remove(path)
    for path in checkpoints(folder)[None if thorough else -4 : -2]:
        if not every or int(path.name) % every:
            shutil.rmtree(path, ignore_errors=True)
        else:
            for name in set(WHOLE) - set(LIGHT):
                (path / name).unlink(missing_ok=True)


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, oldest first, whether or not they can be read."""
    top = folder / CHECKPOINTS
    with suppress(OSError), os.scandir(top) as entries:  # a long run has hundreds, and looks after each iteration
        return [top / name for name in sorted(one.name for one in entries if one.name.isdecimal() and one.is_dir())]
    return []


def restore(
    folder: Path, game: Game, learner: Learner, replay: Replay, streams: Sequence[SelfPlay], *,
    say: Callable[[str], None],
) -> Progress:  # fmt: skip
    """Loads the last whole checkpoint, and says if it passed over a newer one.

    RunError if there is none, or it was made by another game, version or network.
    """
    reason = ""
    for path in reversed(checkpoints(folder)):
        try:
            state = verify(path, WHOLE)
        except RunError as error:
            say(f"{error}; trying the checkpoint before it")
            reason = reason or f": {error}"
            continue
        check_game_of(path, state, game)
        with files.reading(path, ANOTHER):
            tensors = read_tensors(path / "model.safetensors", learner.tensors())
            optimizer = read_optimizer(path / "optimizer.pt", learner.optimizer)
            samples, saved = read_samples(path / "replay.npz", game), read_streams(path / "streams.npz", game)
            learner.load(tensors, optimizer, state.steps)
            replay.load(samples)
            for stream in streams:
                stream.skip_to(state.iteration)
            try:
                # None is loaded unless all are there.
                for stream, arrays in list(zip(streams, saved.values(), strict=True)):
                    stream.load(arrays)
            except (KeyError, ValueError):
                # Other self_play.streams or games: the games under way are given up, nothing else.
                say("the games under way do not fit the changed configuration; all slots start new games")
        return Progress(*(getattr(state, name) for name in Progress._fields))
    raise RunError(f"{folder} has no whole checkpoint to resume from; start anew with --run{reason}")


def load_samples(folder: Path, game: Game) -> Samples | None:
    """The replay buffer of a run's last whole checkpoint; None if it has no samples yet. RunError if there is none."""
    whole = [path for path in checkpoints(folder) if (path / "replay.npz").is_file()]
    if not whole:
        raise RunError(f"{folder} has no whole checkpoint, and so no replay buffer")
    verify(whole[-1], ("replay.npz", "state.json"))
    replay = Replay(game, ReplayConfig())
    with files.reading(whole[-1], ANOTHER):
        replay.load(read_samples(whole[-1] / "replay.npz", game))
    return replay.samples


def load_weights(path: Path, game: Game, learner: Learner) -> None:
    """Loads the networks of a checkpoint into the learner. RunError if it cannot be read."""
    check_game_of(path, verify(path, LIGHT), game)
    with files.reading(path, ANOTHER):
        learner.load_networks(read_tensors(path / "model.safetensors", learner.tensors()))


def load_network(path: Path, game: Game, config: NetworkConfig) -> InferenceModule:
    """The averaged network of a checkpoint, to play with. RunError if it cannot be read.

    It needs no learner, whose optimizer has torch load its compiler, which takes a second.
    """
    with torch.random.fork_rng():
        network = make_network(game, config)
    check_game_of(path, verify(path, LIGHT), game)
    prefix = "average.module."
    averaged = {f"{prefix}{name}": tensor for name, tensor in network.state_dict().items()}
    with files.reading(path, ANOTHER):
        tensors = read_tensors(path / "model.safetensors", averaged)
    network.load_state_dict({name.removeprefix(prefix): tensor for name, tensor in tensors.items()})
    return inference_module(network)


def check_game_of(path: Path, state: State, game: Game) -> None:
    """RunError if the checkpoint is of another game."""
    if state.game != game.name:
        raise RunError(f"{path} was made by the game {unquoted(state.game)}, not {game.name}")


def run_folder(path: Path) -> Path:
    """The run that a checkpoint or an exported agent belongs to; any other path is a run itself."""
    path = path.resolve()
    if path.suffix == ".onnx":
        return path.parent
    return path.parents[1] if path.parent.name == CHECKPOINTS else path


def verify(path: Path, names: Sequence[str]) -> State:
    """Checks that the files `names` of a checkpoint are there and unaltered, else RunError; returns `state.json`."""
    for name in names:
        if not (path / name).is_file():
            raise RunError(f"{path} is not whole: {name} is missing")
    try:
        fields = files.read_json(path / "state.json")
        if not isinstance(fields, dict):
            raise ValueError("it names no fields")
        if (version := fields.get("format", FORMAT)) not in (UNSIGNED, FORMAT):
            raise RunError(
                f"{path} has format {printable(version)}; this version reads formats {UNSIGNED} and {FORMAT}"
            )
        state = TypeAdapter(State).validate_python(fields)
    except ValidationError as error:
        raise RunError(f"{path / 'state.json'} is not a checkpoint's state: {describe_faults(error)[0]}") from error
    except (ValueError, OSError) as error:
        raise RunError(f"{path / 'state.json'} is not a checkpoint's state ({error})") from error
    if state.digest != state.signed().digest and (state.format, state.digest) != (UNSIGNED, None):
        raise RunError(f"{path / 'state.json'} was altered: its digest is not that of what it says")
    if not path.name.isdecimal() or state.iteration != int(path.name):
        raise RunError(f"{path} holds iteration {state.iteration}: the folder was renamed or altered")
    for name in names:
        if name != "state.json" and state.sha256.get(name) != files.digest(path / name):
            raise RunError(f"{path / name} was truncated or altered: its digest is not the one in state.json")
    return state
