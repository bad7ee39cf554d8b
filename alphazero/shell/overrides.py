"""Settings on the command line: `--section.field value` over a configuration, and whose code that may name."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro
from pydantic import ValidationError

from alphazero.config import Config, ConfigError
from alphazero.game import Game, load_game
from alphazero.game.messages import printable
from alphazero.runs.configuration import describe_faults, with_current_names, with_plain_lists
from alphazero.runs.trust import allow_network, load_game_of
from alphazero.shell import cli
from alphazero.shell.commands import as_called


@dataclass(frozen=True)
class Arguments:
    """A training run. Every field of the configuration can be changed here; hyphens and underscores mean the same."""

    config: Annotated[Config, tyro.conf.arg(name="")]
    run: Path | None = None
    """The new run's folder; runs/NAME-DATE if it is not named."""
    resume: str | None = None
    """The folder of the run to go on with, or its address if cluster.mirror copied it there."""


def overridden(config: Config, arguments: Sequence[str], *, prog: str) -> Config:
    """The configuration with `--section.field value` from the command line; exits with a message if one is wrong.

    prog: the script as it is called, for its --help.
    """
    arguments = with_plain_lists(with_current_names(arguments))
    if long := [argument for argument in arguments if len(argument) > cli.LONGEST]:
        raise ConfigError(f"{printable(long[0])} is longer than any option or value")
    style = (tyro.conf.FlagConversionOff, tyro.conf.AvoidSubcommands)
    arguments, options = network_options(arguments)
    without = replace(config, network=replace(config.network, options={}))
    try:
        given = tyro.cli(
            Arguments,
            args=arguments,
            default=Arguments(without),
            prog=as_called(prog),
            config=style,
            use_underscores=True,
        ).config
        return replace(given, network=replace(given.network, options=config.network.options | options))
    except ValidationError as error:  # of a field outside of the sections; tyro tells of the others
        raise ConfigError("; ".join(describe_faults(error))) from error


def network_options(arguments: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """The other arguments, and the values of those that are `--network.options.NAME VALUE`.

    Nobody but the network knows their types: a value is read as in TOML, and as a text if it is nothing there.
    """
    others, options = [], dict[str, Any]()
    remaining = iter(arguments)
    for argument in remaining:
        option, equals, value = argument.partition("=")
        name = option.removeprefix("--network.options.")
        if name == option:
            others.append(argument)
            continue
        value = value if equals else next(remaining, "")
        try:
            options[name] = tomllib.loads(f"x = {value}")["x"]
        except (tomllib.TOMLDecodeError, RecursionError):
            options[name] = value
    return others, options


def game_of(config: Config, saved: Config, source: Path | None, given: set[str]) -> Game:
    """The game that the user names, or the configuration does: the user's own file, or `source`, that of a run.

    given: the options on the command line. If `source` asks for a network of somebody's own, it must be named too.
    """
    game, kind = config.game, config.network.kind
    named = game if "--game" in given or game != saved.game else None
    named_network = kind if "--network.kind" in given or kind != saved.network.kind else None
    try:
        if source is None:
            return load_game(game)
        loaded = load_game_of(source, game, named=named)
        allow_network(source, config.network, named=named_network)
        return loaded
    except ValueError as error:
        raise ConfigError(f"`game`: {error}") from error
