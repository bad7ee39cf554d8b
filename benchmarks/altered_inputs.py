"""Inputs of the engine with something altered, of every kind that it reads: see `fuzz`, which tries them."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console

from alphazero.arena.players import parse_budget
from alphazero.arena.registry import find_player
from alphazero.arena.solved import load_positions
from alphazero.config import Config, ConfigError
from alphazero.dynamics import lotka_volterra
from alphazero.dynamics.trajectories import read_trajectories, write_trajectories
from alphazero.dynamics.ude import DiscoveryError
from alphazero.game import Game, random_actions
from alphazero.game.record import Record
from alphazero.learner import Learner
from alphazero.mcts.evaluator import EvaluationError
from alphazero.network.engines import with_engines
from alphazero.replay import Replay
from alphazero.runs.agents import load_agent
from alphazero.runs.arrays import read_policies
from alphazero.runs.checkpoint import checkpoints, load_games, load_network, load_samples, read_config, restore
from alphazero.runs.configuration import check_fit, load_config, make_config
from alphazero.runs.files import AGENT, BENCHMARK, CARD, CONFIG, METRICS, POLICIES, WHOLE, RunError, reading, write_json
from alphazero.runs.metrics import read_history
from alphazero.runs.mirror import fetch
from alphazero.selfplay import SelfPlay
from alphazero.trainer.session import check_opponents, open_session
from benchmarks.alterations import (
    WORDS,
    altered_archive,
    altered_bytes,
    altered_json,
    altered_model,
    altered_tensors,
    altered_text,
)
from games.connect_four import ConnectFour
from games.tic_tac_toe import TicTacToe

SMALL = make_config(
    {
        "game": "games.tic_tac_toe:TicTacToe",
        "iterations": 2,
        "threads": 1,
        "search": {"simulations": 4},
        "network": {"kind": "residual", "blocks": 1, "width": 8},
        "self_play": {"streams": 2, "parallel_games": 4, "moves": 8, "cache": 64, "opening_moves": 2},
        "learner": {"batch_size": 8, "precision": "float32"},
        "evaluation": {"opponents": ["random"], "every": 1, "games": 2, "simulations": 4},
    },
    source="fuzz",
)


class Trial(NamedTuple):
    """An altered input.

    what:    the alteration, in words.
    read:    reads it, and returns what was read.
    errors:  those that may refuse it; each must name one of `names`.
    wrong:   whether it should have been refused, of what was read.
    """

    what: str
    read: Callable[[], Any]
    errors: tuple[type[Exception], ...]
    names: tuple[str, ...] = ("",)
    wrong: Callable[[Any], bool] = lambda found: False


class Bench:
    """The originals, a copy of them for each input, and the parts of a run to restore.

    folder: of the originals: a run, solved positions and observations.
    """

    def __init__(self, folder: Path, copies: Path) -> None:
        self.folder, self.copies, self.game = folder, copies, TicTacToe()
        self.config = read_config(folder / "run")
        self.case = lotka_volterra.lotka_volterra()
        self.learner = Learner(self.game, self.config.learner, self.config.network, seed=1)
        self.replay = Replay(self.game, self.config.replay)
        self.streams = [
            SelfPlay(self.game, self.config.search, self.config.self_play, seed=1, stream=number)
            for number in range(self.config.self_play.streams)
        ]
        self.agent = load_agent(folder / "run" / AGENT)

    def copy(self, name: str) -> Path:
        """A copy of a file or folder of the originals, in place of the copies before."""
        shutil.rmtree(self.copies, ignore_errors=True)
        original, copy = self.folder / name, self.copies / name
        copy.parent.mkdir(parents=True)
        return Path(shutil.copytree(original, copy) if original.is_dir() else shutil.copyfile(original, copy))


def make_originals(folder: Path) -> None:
    """A small run with everything in it, positions and observations."""
    with open_session(TicTacToe(), SMALL, folder / "run", console=Console(file=io.StringIO())) as session:
        session.train()
    for path in checkpoints(folder / "run")[:-1]:
        shutil.rmtree(path)
    write_json(folder / "run" / BENCHMARK, {"agent": "agent", "matches": []})
    positions = Path(sys.modules[ConnectFour.__module__].__file__ or "").with_name("data") / "connect_four"
    lines = (positions / "positions.csv").read_text().splitlines()[:20]
    (folder / "positions.csv").write_text("\n".join(lines) + "\n")
    case, generator = lotka_volterra.lotka_volterra(), torch.Generator().manual_seed(0)
    observed = lotka_volterra.predators_and_prey(0.0, lotka_volterra.OBSERVED, 0.005, generator)
    write_trajectories(folder / "observed.csv", case, observed)


def of_configurations(bench: Bench, draw: random.Random) -> Trial:
    """A TOML file."""
    path = bench.copy(f"run/{CONFIG}")
    content, what = altered_text(path.read_text(), draw)
    path.write_bytes(content.encode(errors="surrogateescape"))
    return Trial(what, lambda: fitted(bench.game, load_config(path)), (ConfigError, ValueError), (str(path), "."))


def of_settings(bench: Bench, draw: random.Random) -> Trial:
    """Numbers of a configuration, beyond what can be borne."""
    config = asdict(bench.config)
    section = draw.choice([name for name, value in asdict(bench.config).items() if isinstance(value, dict)] + [""])
    holder = config[section] if section else config
    name = draw.choice([name for name in holder if name not in ("game", "mirror", "ray_address")])
    value: Any = draw.choice((-1, 0, 1 << 31, 1 << 63, 10**30, 1e300, 1e-300, float("nan"), True, "x" * 9999, [[]], {}))
    if isinstance(holder[name], dict):
        return of_configurations(bench, draw)
    holder[name] = value
    impossible = isinstance(value, int | float) and not value <= 10**12
    return Trial(
        f"{section}.{name} = {str(value)[:20]}",
        lambda: fitted(bench.game, make_config(config, source="settings")),
        (ConfigError, ValueError),
        (f"{section}.{name}".strip("."), name),
        lambda found: impossible,
    )


def fitted(game: Game, config: Config) -> Config:
    """What a run does with a configuration before it makes its folder."""
    check_fit(game, config)
    check_opponents(game, config)
    return with_engines(game, config)


def of_commands(bench: Bench, draw: random.Random) -> Trial:
    """Words of command lines, as the scripts take them before they begin."""
    from alphazero.shell.overrides import overridden
    from scripts import aim, benchmark, discover

    sections = [name for name, value in vars(bench.config).items() if is_dataclass(value)]
    section = draw.choice(sections)
    field = draw.choice([field.name for field in fields(getattr(bench.config, section))])
    word = draw.choice([word for word in WORDS if "\0" not in word])
    words, read = draw.choice(
        (
            ((f"--{section}.{field}", word), lambda: fitted(bench.game, overridden(bench.config, words, prog="train"))),
            (("--seed", word), lambda: fitted(bench.game, overridden(bench.config, words, prog="train"))),
            (("agent", draw.choice(("--games", "--simulations", "--seed", "--curve", "--workers")), word),
             partial(called, benchmark.parse_arguments, "agent", bench)),
            ((draw.choice(("--wind", "--target", "--angle", "--seed", "--budget")), word), aim.parsed),
            (("drag", draw.choice(("--shots", "--noise", "--seed")), word), discover.parsed),
            ((word,), lambda: find_player(word, bench.agent, parse_budget("4"))),
            ((word,), lambda: parse_budget(word)),
            ((word,), lambda: Record(bench.game, word * draw.choice((1, 100)))),
        )
    )  # fmt: skip
    errors = (ConfigError, ValueError, RunError, OSError)
    return Trial(" ".join(words)[:80], partial(with_arguments, words, read), errors)


def called(parse: Callable[[], Any], *_: object) -> Any:
    return parse()


def with_arguments(words: Sequence[str], read: Callable[[], Any]) -> Any:
    """`read` with the words as the command line."""
    before, sys.argv = sys.argv, ["script", *words]
    try:
        return read()
    finally:
        sys.argv = before


def of_agents(bench: Bench, draw: random.Random) -> Trial:
    """agent.onnx, with and without a fitting digest, and with and without its network's configuration."""
    path = bench.copy("run") / AGENT
    before = path.read_bytes()
    serialized, what = altered_model(before, draw)
    path.write_bytes(serialized)
    card = json.loads(path.with_name(CARD).read_bytes())
    if signed := draw.random() < 0.8:
        card["sha256"] = hashlib.sha256(serialized).hexdigest()
    if draw.random() < 0.5:
        del card["network"]
    path.with_name(CARD).write_text(json.dumps(card))
    read = partial(played, bench, path)
    altered = serialized != before
    return Trial(what, read, (RunError, EvaluationError), ("agent", "network"), lambda _: altered and not signed)


def of_cards(bench: Bench, draw: random.Random) -> Trial:
    """agent.json."""
    path = bench.copy("run") / CARD
    if draw.random() < 0.5:
        record, what = altered_json(json.loads(path.read_bytes()), draw)
        path.write_text(json.dumps(record))
    else:
        text, what = altered_text(path.read_text(), draw)
        path.write_bytes(text.encode(errors="surrogateescape"))
    read = partial(played, bench, path.with_name(AGENT))
    return Trial(what, read, (RunError, EvaluationError, ValueError), ("agent", "game"))


def played(bench: Bench, path: Path) -> Any:
    """An agent's answers along a game at random."""
    agent = load_agent(path)
    generator = torch.Generator().manual_seed(1)
    states = agent.game.initial(3, generator=generator)
    for _ in range(3):
        evaluation = agent.evaluator(states, generator)
        assert evaluation.value.isfinite().all()
        states = agent.game.step(states, random_actions(agent.game, states, generator)).state
    return agent


def of_states(bench: Bench, draw: random.Random) -> Trial:
    """state.json, whose own digest does not fit."""
    path = next((bench.copy("run") / "checkpoints").iterdir()) / "state.json"
    before = json.loads(path.read_bytes())
    if draw.random() < 0.5:
        record, what = altered_json(before, draw)
        path.write_text(json.dumps(record))
    else:
        content, what = altered_bytes(path.read_bytes(), draw)
        path.write_bytes(content)
    return restored(bench, path, what, lambda _: json.loads(path.read_bytes()) != before)


def of_checkpoints(bench: Bench, draw: random.Random) -> Trial:
    """Any other file of a checkpoint, with and without a fitting digest."""
    path = next((bench.copy("run") / "checkpoints").iterdir()) / draw.choice(WHOLE[:-1])
    before = path.read_bytes()
    impossible = False
    if draw.random() < 0.5:
        content, what = altered_bytes(before, draw)
        path.write_bytes(content)
    else:
        what, impossible = (altered_archive if path.suffix == ".npz" else altered_tensors)(path, draw)
    altered = path.read_bytes() != before
    if signed := draw.random() < 0.7:
        sign(path.parent)
    return restored(bench, path, f"{path.name}: {what}", lambda _: altered and (impossible or not signed))


def sign(checkpoint: Path) -> None:
    """Makes the digests of a checkpoint fit its files."""
    state = json.loads((checkpoint / "state.json").read_bytes())
    for name in state["sha256"]:
        state["sha256"][name] = hashlib.sha256((checkpoint / name).read_bytes()).hexdigest()
    content = {name: value for name, value in state.items() if name != "digest"}
    state["digest"] = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    (checkpoint / "state.json").write_text(json.dumps(state))


def restored(bench: Bench, path: Path, what: str, wrong: Callable[[Any], bool]) -> Trial:
    folder, checkpoint = path.parents[2], path.parent

    def read() -> Any:
        progress = restore(folder, bench.game, bench.learner, bench.replay, bench.streams, say=lambda text: None)
        load_network(checkpoint, bench.game, bench.config.network)
        return progress, load_samples(folder, bench.game)

    return Trial(what, read, (RunError,), (str(checkpoint),), wrong)


def of_games(bench: Bench, draw: random.Random) -> Trial:
    """games/*.npz and policies.npz, which are under no digest."""
    kept = sorted(path.name for path in (bench.folder / "run" / "games").iterdir())
    name = draw.choice((f"games/{draw.choice(kept)}", POLICIES))
    path = bench.copy("run") / name
    read: Callable[[], Any] = partial(policies, path, bench.game)
    if name != POLICIES:
        read = partial(load_games, path.parents[1], int(path.stem), bench.game)
    before, impossible, exact = read(), False, draw.random() < 0.5
    if exact:
        content, what = altered_bytes(path.read_bytes(), draw)
        path.write_bytes(content)
    else:
        what, impossible = altered_archive(path, draw)
    return Trial(
        f"{name}: {what}", read, (RunError,), (path.name,),
        lambda found: impossible or (exact and not same(before, found)),
    )  # fmt: skip


def policies(path: Path, game: Game) -> Any:
    with reading(path, "move it away"):
        return read_policies(path, game, 4)


def same(one: Any, other: Any) -> bool:
    """Whether two sets of arrays or trajectories are the same."""
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return np.array_equal(np.asarray(one), np.asarray(other), equal_nan=False)


def of_tables(bench: Bench, draw: random.Random) -> Trial:
    """metrics.csv, solved positions and observations."""
    name = draw.choice((f"run/{METRICS}", "positions.csv", "observed.csv"))
    path = bench.copy(name)
    text, what = altered_text(path.read_text(), draw)
    path.write_bytes(text.encode(errors="surrogateescape"))
    read: Callable[[], Any] = partial(read_history, path)
    errors: tuple[type[Exception], ...] = (RunError,)
    if name == "positions.csv":
        read, errors = partial(load_positions, path, ConnectFour()), (ValueError,)
    elif name == "observed.csv":
        read, errors = partial(read_trajectories, path, bench.case, 0.01), (DiscoveryError,)

    def no_numbers(found: Any) -> bool:
        if name == "positions.csv":
            return bool((found.scores.isnan() | (found.scores == torch.inf)).any())
        return name == "observed.csv" and not found.states.isfinite().all()

    return Trial(f"{name}: {what}", read, errors, (path.name,), no_numbers)


def of_mirrors(bench: Bench, draw: random.Random) -> Trial:
    """A mirror by file://, with a file altered, replaced by a pipe or a link, or gone."""
    folder = bench.copy("run")
    path = draw.choice(sorted(path for path in folder.rglob("*") if path.is_file()))
    way = draw.choice(("bytes", "gone", "pipe", "link", "folder", "extra"))
    before = path.read_bytes()
    if way == "bytes":
        path.write_bytes(altered_bytes(before, draw)[0])
    elif way == "extra":
        path.with_name("payload.py").write_text("raise SystemExit('ran')")
    else:
        path.unlink()
        if way == "pipe":
            os.mkfifo(path)
        elif way == "link":
            path.symlink_to(draw.choice(("/dev/zero", "/etc/passwd", "nowhere", ".")))
        elif way == "folder":
            path.mkdir()
    url, new = f"file://{folder}", folder.with_name("fetched")

    def read() -> Any:
        fetch(url, new)
        assert not list(new.rglob("*.py")), "a mirror's own file was fetched"
        read_config(new)
        return restore(new, bench.game, bench.learner, bench.replay, bench.streams, say=lambda text: None)

    return Trial(f"{path.relative_to(folder)}: {way}", read, (RunError, ConfigError), (str(folder), str(new)))


KINDS: dict[str, tuple[int, Callable[[Bench, random.Random], Trial]]] = {  # and how many of them there are
    "configurations": (15, of_configurations),
    "settings": (10, of_settings),
    "commands": (10, of_commands),
    "agents": (20, of_agents),
    "cards": (5, of_cards),
    "states": (8, of_states),
    "checkpoints": (20, of_checkpoints),
    "games": (10, of_games),
    "tables": (10, of_tables),
    "mirrors": (2, of_mirrors),
}
