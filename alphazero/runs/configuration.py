"""Configurations of runs: read, checked against a game and this machine, compared, and written as TOML."""

from __future__ import annotations

import difflib
import logging
import math
import re
import tomllib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import tomli_w
import torch
from pydantic import TypeAdapter, ValidationError

from alphazero.config import Config, ConfigError
from alphazero.game import Game
from alphazero.game.messages import printable, unquoted
from alphazero.mcts.policy import policy_of
from alphazero.network.architectures import check_network
from alphazero.runs.shipped import CONFIGS
from alphazero.selfplay import ROOM

_log = logging.getLogger(__name__)


LONGEST = 1_000_000  # characters of a file: a plan of 10,000 pieces takes half of them
MOST_FAULTS = 20  # that are shown

OLD_NAMES = {  # of fields in the version before, and what they are called now
    "self_play.games": "self_play.parallel_games",
    "learner.batch": "learner.batch_size",
    "learner.clip": "learner.max_grad_norm",
    "learner.average": "learner.ema_decay",
    "cluster.most_behind": "cluster.max_backlog",
    "cluster.most_stale": "cluster.max_staleness",
}


def configuration_file(name: str) -> Path:
    """The file at this path, or the configuration of this name that comes with the package. ConfigError without one."""
    path, shipped = Path(name), {file.stem: file for file in sorted(CONFIGS.glob("*.toml"))}
    if path.is_file() or path.suffix or len(path.parts) > 1:
        return path
    if name not in shipped:
        raise ConfigError(f"{printable(name)} is neither a file nor one of the package's: {', '.join(shipped)}")
    return shipped[name]


def load_config(path: Path) -> Config:
    """The configuration in a TOML file. ConfigError if it cannot be read or is not valid."""
    try:
        with path.open("rb") as file:
            text = file.read(LONGEST + 1).decode()
        if len(text) > LONGEST:
            raise ConfigError(f"{path}: is no configuration: it is longer than {LONGEST:,} characters")
        fields = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not a text file") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: is not valid TOML: too many brackets within one another") from error
    except ValueError as error:  # of TOML, dates, and integers of thousands of digits
        raise ConfigError(f"{path}: is not valid TOML: {error}") from error
    return make_config(fields, source=str(path))


def make_config(fields: dict[str, Any], *, source: str) -> Config:
    """The configuration with these fields, defaults for the rest. ConfigError names `source` and all faults."""
    try:
        return TypeAdapter(Config).validate_python(_with_current_names(fields))
    except ValidationError as error:
        raise ConfigError("\n".join(f"{source}: {fault}" for fault in describe_faults(error))) from error


def _with_current_names(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields with those that have one of OLD_NAMES under its new name."""
    given = {f"{section}.{name}" for section, inner in fields.items() if isinstance(inner, dict) for name in inner}
    old = [name for name, new in OLD_NAMES.items() if name in given and new not in given]
    _notice(tuple(old))
    renamed = {name: dict(value) if isinstance(value, dict) else value for name, value in fields.items()}
    for section, name, new in ((*name.split("."), OLD_NAMES[name].split(".")[1]) for name in old):
        renamed[section][new] = renamed[section].pop(name)
    return renamed


def with_current_names(arguments: Sequence[str]) -> list[str]:
    """Command-line arguments with each `--section.field` that has one of OLD_NAMES under its new name."""
    renamed, old = [], []
    for argument in arguments:
        option, equals, value = argument.partition("=")
        name = option.removeprefix("--").replace("-", "_")
        if option.startswith("--") and name in OLD_NAMES:
            old.append(name)
            option = f"--{OLD_NAMES[name]}"
        renamed.append(option + equals + value)
    _notice(tuple(old))
    return renamed


def with_plain_lists(arguments: Sequence[str]) -> list[str]:
    """Command-line arguments with each list of texts, written as in TOML, as the words that it holds: `[]` as none."""
    plain: list[str] = []
    for argument in arguments:
        option, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
        words = _texts(value)
        plain += [argument] if words is None else [*([option] if equals else []), *words]
    return plain


def _texts(value: str) -> list[str] | None:
    """The texts of a list in TOML; None if it is none."""
    if value.startswith("[") and value.endswith("]"):
        with suppress(tomllib.TOMLDecodeError, RecursionError):
            found = tomllib.loads(f"x = {value}").get("x")
            if isinstance(found, list) and all(isinstance(text, str) for text in found):
                return found
    return None


@cache
def _notice(old: tuple[str, ...]) -> None:
    """Says, once in a process, which names are old."""
    if old:
        changes = ", ".join(f"`{name}` is now `{OLD_NAMES[name]}`" for name in old)
        _log.warning("%s; the old names are read for one more version", changes)


def describe_faults(error: ValidationError) -> list[str]:
    """A line for each fault that pydantic found, in a user's words; of very many, for the first."""
    found = error.errors()
    faults = []
    for fault in found[:MOST_FAULTS]:
        # The path's last part is the field; parts that are no field's name come from type unions.
        place = ".".join(str(part) for part in fault["loc"])
        if fault["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
            section, name = ".".join(map(str, fault["loc"][:-1])), str(fault["loc"][-1])
            known = [field.name for field in fields(SECTIONS.get(section, Config))]
            close = difflib.get_close_matches(name, known, n=1)
            fix = f"did you mean `{close[0]}`?" if close else f"expected one of {', '.join(known)}"
            faults.append(f"unknown field `{unquoted(name)}`{f' in [{section}]' if section else ''}; {fix}")
        else:
            message = fault["msg"][0].lower() + fault["msg"][1:]
            given = "" if isinstance(fault["input"], dict) else f" (given: {printable(fault['input'])})"
            faults.append(f"`{place}`: {message}{given}")
    if len(found) > MOST_FAULTS:
        faults.append(f"and {len(found) - MOST_FAULTS:,} faults more")
    return faults


def to_toml(config: Config) -> str:
    """The configuration in TOML, with each piece of a plan in a line."""
    return re.sub(r"\[\s+(\d+),\s+(\S+),\s+(\d+),\s+\]", r"[\1, \2, \3]", tomli_w.dumps(asdict(config)))


def differences(old: Config, new: Config) -> list[str]:
    """`section.field: old -> new` of every field that differs."""

    def flat(config: Config) -> dict[str, Any]:
        table: dict[str, Any] = {}
        for name, value in asdict(config).items():
            table |= {f"{name}.{key}": v for key, v in value.items()} if isinstance(value, dict) else {name: value}
        return table

    before, after = flat(old), flat(new)
    return [f"{name}: {before[name]} -> {after[name]}" for name in before if before[name] != after[name]]


SECTIONS: dict[str, Any] = {name: type(section) for name, section in vars(Config()).items() if is_dataclass(section)}


def check_fit(game: Game, config: Config) -> None:
    """ValueError if the configuration asks for something that the game or this machine does not have."""
    for device in {config.learner.device} | (set() if config.distributed else {config.self_play.device}):
        try:
            torch.zeros(1, device=device)
        except (RuntimeError, AssertionError) as error:
            there = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
            raise ValueError(f"device {device!r} is not available here; available: {', '.join(there)}") from error
    discrete, merging = game.discrete, config.replay.merge != "none"
    if config.self_play.cache and torch.device(config.self_play.device).type != "cpu":
        raise ValueError("the cache of evaluations lives on the CPU; set self_play.cache = 0 for self-play elsewhere")
    if game.num_players != 2 and config.evaluation.opponents:
        raise ValueError(f"{game.name} is a game for one: nobody can oppose it; set evaluation.opponents = []")
    check_network(game, config.network)
    check_sizes(game, config)
    numbers = config.learner.batch_size // max(1, config.learner_gpus or config.cluster.learner_ranks)
    if config.network.kind == "residual" and numbers * math.prod(game.observation_shape[1:]) < 2:
        raise ValueError(
            f"{game.name} observes a single cell, and a residual network normalises over the cells of a batch, which "
            f'needs two of them: network.kind = "dense", or a larger learner.batch_size ({config.learner.batch_size})'
        )
    if config.self_play.end_proven and not config.search.solver:
        raise ValueError("self_play.end_proven needs the search's proofs; set search.solver = true")
    if config.self_play.resign_below > -1 and game.num_players != 2:
        raise ValueError(f"{game.name} is a game for one, who resigns to nobody; set self_play.resign_below = -1")
    if config.search.solver and not discrete:
        raise ValueError(f"{game.name} has continuous actions, which cannot all be tried; set search.solver = false")
    if config.network.soft_policy_weight and not discrete:
        raise ValueError(
            f"{game.name} has continuous actions, which have no softer policy; set network.soft_policy_weight = 0"
        )
    if config.search.refine_steps and discrete:
        raise ValueError(f"{game.name} has discrete actions, which cannot be refined; set search.refine_steps = 0")
    if merging and not discrete:
        why = "continuous actions, which are sampled anew in each position, so that positions cannot be merged"
        raise ValueError(f'{game.name} has {why}; set replay.merge = "none"')
    if merging and not game.has_key:
        raise ValueError(f'{game.name} has no `key` to tell equal positions by; set replay.merge = "none"')


SAMPLES = 1 << 30  # of an iteration, at the most
MEMORY = 1 << 38  # bytes that a part of a run may take at the most: 256 GiB


def check_sizes(game: Game, config: Config) -> None:
    """ValueError if numbers that are each within their limits ask together for more than any machine has."""
    play, search, network, learner = config.self_play, config.search, config.network, config.learner
    choices, sampled = policy_of(game).shapes(search)
    position = sum(field[0].numel() * field.element_size() for field in game.initial(1))
    move = 2 * position + 4 * (choices + math.prod(sampled)) + 28
    cells = math.prod(game.observation_shape[1:]) if network.kind == "residual" else 1
    games, edge = play.streams * play.parallel_games, 20
    for factors, size, most, meaning in (
        ("self_play.streams * parallel_games * moves", games * play.moves, SAMPLES, "samples an iteration"),
        ("self_play.streams * parallel_games", games * ROOM * move, MEMORY, "bytes of games under way"),
        (
            "self_play.parallel_games * search.simulations",
            play.parallel_games * search.simulations * (choices * edge + position),
            MEMORY,
            "bytes of trees in a stream",
        ),
        (
            "learner.batch_size * network.blocks * width",
            0 if network.own else learner.batch_size * network.blocks * network.width * cells * 8,
            MEMORY,
            "bytes of a batch within the network",
        ),
        ("replay.window", config.replay.window * move, 4 * MEMORY, "bytes of samples"),
    ):
        if size > most:
            raise ValueError(f"{factors} make {size:,} {meaning}, more than {most:,}; lower one of them")
