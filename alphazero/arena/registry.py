"""The player registry: players by their names on the command line, trained agents included."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from alphazero.arena.players import (
    NAMES,
    AgentPlayer,
    NetworkPlayer,
    Player,
    SearchBudget,
    parse_budget,
    parse_player,
    parse_temperature,
)
from alphazero.config import MAX_MOVES
from alphazero.game import Game
from alphazero.game.messages import printable
from alphazero.runs.agents import Agent, load_agent
from alphazero.runs.shipped import AGENTS, agent_file


@dataclass(frozen=True)
class PlayerSpec:
    """A player that can be built for each match anew; two with one name are the same.

    name: its name in all tables and records.
    make: makes the player from a seed, so that no match leaves a trace in the next. The agent of a path
          stays the one that was found there first.
    """

    name: str
    make: Callable[[int], Player] = field(compare=False)

    def build(self, seed: int) -> Player:
        """The player made from this seed, with the name."""
        player = self.make(seed)
        player.name = self.name
        return player


PLAYERS = (
    "agent or agent:BUDGET, network or network@TEMPERATURE, a run's or checkpoint's folder, an agent.onnx or the name "
    f"of one that ships (@ and a budget may follow), {NAMES}"
)


def find_player(
    text: str, agent: Agent, budget: SearchBudget, *, game: str | None = None, network: str | None = None
) -> PlayerSpec:
    """The player of `agent.game` with this name, see PLAYERS; `budget` is for agents whose name includes none.

    game, network: for agents of a path, see `load_agent`.
    ValueError for any other name and for an agent of another game, RunError for a path that holds no agent.
    """
    match = re.fullmatch(r"(agent|network)(?::([^@:]+))?(?:@([^@:]+))?", text)
    kind, setting, temperature = match.groups() if match else ("", None, None)
    if kind == "agent" and temperature is None:
        return agent_spec(None, agent, parse_budget(setting) if setting else budget)
    if kind == "network" and setting is None:
        return network_spec(None, agent, temperature=parse_temperature(temperature))
    path, _, own_budget = text.rpartition("@") if re.search(r"@[\d.]+s?$", text) else (text, "", "")
    if "/" in path or path.endswith(".onnx") or os.path.isdir(path) or path in AGENTS:
        other = load_agent(agent_file(expanded(path)), game=game, network=network)
        if other.game.name != agent.game.name:
            raise ValueError(f"{path} plays {other.game.name}, not {agent.game.name}")
        return agent_spec(text, other, parse_budget(own_budget) if own_budget else budget)
    return named_spec(text, agent.game, PLAYERS, max_moves=agent.max_moves)


def expanded(path: str) -> Path:
    """The path with ~ replaced. ValueError if nobody is called so."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{printable(path)}: {error}") from error


def named_spec(text: str, game: Game, names: str = NAMES, *, max_moves: int = MAX_MOVES) -> PlayerSpec:
    """A player without a network, as `parse_player` names it."""
    # Built once here, so that a player that cannot be is refused now and not after hours.
    name = parse_player(text, game, seed=0, names=names).name
    return PlayerSpec(name, lambda seed: parse_player(text, game, seed=seed, max_moves=max_moves))


def agent_spec(name: str | None, agent: Agent, budget: SearchBudget) -> PlayerSpec:
    """The agent with search, named `name` or, if that is None, by its budget."""
    config = replace(agent.search, simulations=budget.simulations)
    make = partial(AgentPlayer, agent.game, agent.evaluator, config, seconds=budget.seconds)
    return PlayerSpec(name or f"agent:{budget}", make)


def network_spec(name: str | None, agent: Agent, *, temperature: float = 0.0) -> PlayerSpec:
    """The agent's network alone, named `name` or, if that is None, by its temperature."""
    make = partial(NetworkPlayer, agent.game, agent.evaluator, temperature=temperature)
    return PlayerSpec(name or make(0).name, make)
