"""Players by the names that people give them on a command line, trained agents among them."""

from __future__ import annotations

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
from alphazero.game import Game
from alphazero.runs.agents import Agent, load_agent


@dataclass(frozen=True)
class PlayerSpec:
    """Someone who can take part; two of one name are the same.

    name:  its own, in all tables and records.
    build: the player, anew from a seed, so that no game leaves a trace in the next; the agent of a path
           stays the one that was found there first.
    """

    name: str
    build: Callable[[int], Player] = field(compare=False)


PLAYERS = (
    "agent or agent:BUDGET, network or network@TEMPERATURE, a run's or checkpoint's folder or an agent.onnx "
    f"(behind it, @ and a budget), {NAMES}"
)


def find_player(text: str, agent: Agent, budget: SearchBudget) -> PlayerSpec:
    """Whom of `agent.game` the text names, see PLAYERS; agents think as `budget` says unless the text does.

    ValueError for any other name, RunError for a path that holds no agent, or one of another game.
    """
    kind, setting, temperature = _split(text)
    if kind == "agent" and temperature is None:
        return agent_spec(None, agent, parse_budget(setting) if setting else budget)
    if kind == "network" and setting is None:
        return network_spec(None, agent, temperature=parse_temperature(temperature))
    path, _, own_budget = text.rpartition("@") if re.search(r"@[\d.]+s?$", text) else (text, "", "")
    if "/" in path or path.endswith(".onnx") or Path(path).is_dir():
        other = load_agent(Path(path).expanduser())
        if other.game.name != agent.game.name:
            raise ValueError(f"{path} plays {other.game.name}, not {agent.game.name}")
        return agent_spec(text, other, parse_budget(own_budget) if own_budget else budget)
    try:
        return named_spec(text, agent.game)
    except ValueError as error:
        if str(error).endswith(NAMES):
            raise ValueError(f"no player is called {text!r}; expected {PLAYERS}") from error
        raise


def named_spec(text: str, game: Game) -> PlayerSpec:
    """A player without a network, as `parse_player` names it."""
    # Built once here, so that a player that cannot be is refused now and not after hours.
    return PlayerSpec(parse_player(text, game, seed=0).name, partial(_parse_player, text, game))


def agent_spec(name: str | None, agent: Agent, budget: SearchBudget) -> PlayerSpec:
    """The agent under a name of its own, or under the player's."""

    def build(seed: int) -> Player:
        player = agent_player(agent, budget, seed=seed)
        player.name = name or player.name
        return player

    return PlayerSpec(name or f"agent:{budget}", build)


def network_spec(name: str | None, agent: Agent, *, temperature: float = 0.0) -> PlayerSpec:
    """The agent's network alone, under a name of its own, or under the player's."""

    def build(seed: int) -> Player:
        player = NetworkPlayer(agent.game, agent.evaluator, seed=seed, temperature=temperature)
        player.name = name or player.name
        return player

    return PlayerSpec(name or build(0).name, build)


def agent_player(agent: Agent, budget: SearchBudget, *, seed: int) -> AgentPlayer:
    config = replace(agent.search, simulations=budget.simulations)
    return AgentPlayer(agent.game, agent.evaluator, config, seed, seconds=budget.seconds)


def _split(text: str) -> tuple[str, str | None, str | None]:
    match = re.fullmatch(r"(agent|network)(?::([^@:]+))?(?:@([^@:]+))?", text)
    return (match[1], match[2], match[3]) if match else ("", None, None)


def _parse_player(text: str, game: Game, seed: int) -> Player:
    return parse_player(text, game, seed=seed)
