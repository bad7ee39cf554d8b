"""Players by the names that people give them on a command line, trained agents among them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from alphazero.checkpoint import load_agent
from alphazero.players import (
    NAMES,
    Agent,
    AgentPlayer,
    NetworkPlayer,
    Player,
    Strength,
    parse_player,
    parse_strength,
    parse_temperature,
)

ENTRANTS = (
    "agent or agent:STRENGTH, network or network@TEMPERATURE, a run's or checkpoint's folder or an agent.onnx "
    f"(behind it, @ and a strength), {NAMES}"
)


def parse_entrant(text: str, agent: Agent, strength: Strength, *, seed: int) -> Player:
    """The player of `agent.game` that `text` names, see ENTRANTS; agents think as `strength` says unless it does.

    ValueError for any other name, RunError for a path that holds no agent, or one of another game.
    """
    kind, setting, temperature = _split(text)
    if kind == "agent" and temperature is None:
        return agent_player(agent, parse_strength(setting) if setting else strength, seed=seed)
    if kind == "network" and setting is None:
        return NetworkPlayer(agent.game, agent.evaluator, seed=seed, temperature=parse_temperature(temperature))
    path, _, own_strength = text.rpartition("@") if re.search(r"@[\d.]+s?$", text) else (text, "", "")
    if _is_path(path):
        other = load_agent(Path(path))
        if other.game.name != agent.game.name:
            raise ValueError(f"{path} plays {other.game.name}, not {agent.game.name}")
        player = agent_player(other, parse_strength(own_strength) if own_strength else strength, seed=seed)
        player.name = text
        return player
    try:
        return parse_player(text, agent.game, seed=seed)
    except ValueError as error:
        if str(error).endswith(NAMES):
            raise ValueError(f"no player is called {text!r}; expected {ENTRANTS}") from error
        raise


def agent_player(agent: Agent, strength: Strength, *, seed: int) -> AgentPlayer:
    config = replace(agent.search, simulations=strength.simulations)
    return AgentPlayer(agent.game, agent.evaluator, config, seed, seconds=strength.seconds)


def _split(text: str) -> tuple[str, str | None, str | None]:
    match = re.fullmatch(r"(agent|network)(?::([^@:]+))?(?:@([^@:]+))?", text)
    return (match[1], match[2], match[3]) if match else ("", None, None)


def _is_path(text: str) -> bool:
    return "/" in text or text.endswith(".onnx") or Path(text).is_dir()
