"""Checkpoints of a run: saved whole, read back safely, removed when they are old.

A checkpoint is written under a temporary name, flushed, and renamed as a whole, so that weights,
buffer and games under way always belong together. `state.json` holds a digest of every file: one
that was cut short or altered is noticed. Nothing that is read can run code: safetensors, arrays
without objects, JSON, and torch's tensors-only format.

Everything to continue a run is kept for the last two checkpoints; older ones keep the network
alone, and of those only the ones that were measured. Games are kept for longer, and then as sparsely.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from alphazero.config import Config, NetworkConfig, ReplayConfig
from alphazero.game import Game
from alphazero.learner import Learner
from alphazero.network.architectures import InferenceModule, inference_module, make_network
from alphazero.replay import Replay, Samples, to_arrays
from alphazero.runs import files
from alphazero.runs.configuration import load_config, to_toml
from alphazero.runs.files import CHECKPOINTS, LIGHT, WHOLE, RunError
from alphazero.selfplay import SelfPlay, Trajectories

FORMAT = 1
RECENT_GAMES = 100  # iterations of which all games are kept


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


def create_run(folder: Path, config: Config) -> None:
    """Makes the folder of a new run. RunError if it exists already, or cannot be written."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        fix = f"continue it with --resume {folder}" if (folder / files.CONFIG).exists() else "it is no run"
        raise RunError(f"{folder} exists already ({fix}); name another folder with --run")
    with files.clear_errors(folder):
        (folder / CHECKPOINTS).mkdir(parents=True)
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
    state = {"format": FORMAT, "game": game.name, "steps": learner.steps, **progress._asdict()}
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
            files.write_file(unfinished / "state.json", json.dumps(state | {"sha256": digests}, indent=2).encode())
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
    with files.reading(path):
        parts = unnumbered(files.read_arrays(path))
        return {stream: Trajectories.from_arrays(game, arrays) for stream, arrays in parts.items()}


def numbered(parts: Mapping[int, dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Joins several sets of arrays into one; each name gets its set's number in front."""
    return {f"{number}/{name}": array for number, part in parts.items() for name, array in part.items()}


def unnumbered(arrays: dict[str, np.ndarray]) -> dict[int, dict[str, np.ndarray]]:
    """The sets that `numbered` joined."""
    parts: dict[int, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        number, _, rest = name.partition("/")
        parts.setdefault(int(number), {})[rest] = array
    return dict(sorted(parts.items()))


def prune_checkpoints(folder: Path, *, every: int) -> None:
    """Keeps the last two whole; of older ones, the network of every `every`-th (0: of none)."""
    for path in checkpoints(folder)[:-2]:
        if not every or int(path.name) % every:
            shutil.rmtree(path, ignore_errors=True)
        else:
            for name in set(WHOLE) - set(LIGHT):
                (path / name).unlink(missing_ok=True)


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, oldest first, whether or not they can be read."""
    return sorted(path for path in (folder / CHECKPOINTS).glob("*") if path.name.isdecimal() and path.is_dir())


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
        if state["game"] != game.name:
            raise RunError(f"{path} was made by the game {state['game']}, not {game.name}")
        with files.reading(path):
            learner.load(
                safetensors.torch.load_file(path / "model.safetensors"),
                torch.load(path / "optimizer.pt", map_location="cpu", weights_only=True),
                state["steps"],
            )
            replay.load(files.read_arrays(path / "replay.npz"))
            saved = list(unnumbered(files.read_arrays(path / "streams.npz")).values())
            for stream in streams:
                stream.skip_to(state["iteration"])
            try:
                for stream, arrays in list(zip(streams, saved, strict=True)):  # none is loaded unless all are there
                    stream.load(arrays)
            except (KeyError, ValueError):
                # Other self_play.streams or games: the games under way are given up, nothing else.
                say("the games under way do not fit the changed configuration; all slots start new games")
        return Progress(state["iteration"], state["new_samples"], state["core_seconds"], state.get("seconds", 0.0))
    raise RunError(f"{folder} has no whole checkpoint to resume from; start anew with --run{reason}")


def load_samples(folder: Path, game: Game) -> Samples | None:
    """The replay buffer of a run's last whole checkpoint; None if it has no samples yet. RunError if there is none."""
    whole = [path for path in checkpoints(folder) if (path / "replay.npz").is_file()]
    if not whole:
        raise RunError(f"{folder} has no whole checkpoint, and so no replay buffer")
    verify(whole[-1], ("replay.npz", "state.json"))
    replay = Replay(game, ReplayConfig())
    with files.reading(whole[-1]):
        replay.load(files.read_arrays(whole[-1] / "replay.npz"))
    return replay.samples


def load_weights(path: Path, game: Game, learner: Learner) -> None:
    """Loads the networks of a checkpoint into the learner. RunError if it cannot be read."""
    with files.reading(path):
        learner.load_networks(_networks(path, game))


def load_network(path: Path, game: Game, config: NetworkConfig) -> InferenceModule:
    """The averaged network of a checkpoint, to play with. RunError if it cannot be read.

    It needs no learner, whose optimizer has torch load its compiler, which takes a second.
    """
    with torch.random.fork_rng():
        network = make_network(game, config)
    prefix = "average.module."
    with files.reading(path):
        tensors = _networks(path, game).items()
        network.load_state_dict({name.removeprefix(prefix): one for name, one in tensors if name.startswith(prefix)})
    return inference_module(network)


def _networks(path: Path, game: Game) -> dict[str, Tensor]:
    """What `Learner.tensors` returned when the checkpoint was saved."""
    state = verify(path, LIGHT)
    if state["game"] != game.name:
        raise RunError(f"{path} was made by the game {state['game']}, not {game.name}")
    return safetensors.torch.load_file(path / "model.safetensors")


def run_folder(path: Path) -> Path:
    """The run that a checkpoint or an exported agent belongs to; any other path is a run itself."""
    path = path.resolve()
    if path.suffix == ".onnx":
        return path.parent
    return path.parents[1] if path.parent.name == CHECKPOINTS else path


def verify(path: Path, names: Sequence[str]) -> dict[str, Any]:
    """Checks that the files `names` of a checkpoint are there and unaltered, else RunError; returns `state.json`."""
    for name in names:
        if not (path / name).is_file():
            raise RunError(f"{path} is not whole: {name} is missing")
    try:
        state = json.loads((path / "state.json").read_bytes())
        version, digests = state["format"], dict(state["sha256"])
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path / 'state.json'} is not a checkpoint's state ({error!r})") from error
    if version != FORMAT:
        raise RunError(f"{path} has format {version}; this version of alphazero reads format {FORMAT}")
    if missing := {"game", "steps", *Progress._fields} - {"seconds"} - set(state):
        raise RunError(f"{path / 'state.json'} lacks {', '.join(sorted(missing))}")
    if state["iteration"] != int(path.name):
        raise RunError(f"{path} holds iteration {state['iteration']}: the folder was renamed or altered")
    for name in names:
        if name != "state.json" and digests.get(name) != files.digest(path / name):
            raise RunError(f"{path / name} was truncated or altered: its digest is not the one in state.json")
    return dict(state)
