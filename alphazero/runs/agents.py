"""Trained agents: found in runs and checkpoints, exported, and read back.

An exported agent is agent.onnx, its network, with agent.json, its card: the game, the settings of the
search, the inputs and outputs, and the network's digest.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import onnx

from alphazero.config import MAX_MOVES, Config, NetworkConfig, SearchConfig, SelfPlayConfig
from alphazero.game import Game, box_of, num_actions
from alphazero.mcts.evaluator import Evaluator
from alphazero.mcts.policy import policy_of
from alphazero.network.architectures import in_torch
from alphazero.network.inference import NetworkEvaluators, OnnxEvaluator
from alphazero.runs.checkpoint import FORMAT, checkpoints, load_network, read_config, run_folder
from alphazero.runs.files import AGENT, CARD, CONFIG, RunError, clear_errors, write_file
from alphazero.runs.trust import load_game_of


def load_agent(path: Path | str, *, game: str | None = None) -> Agent:
    """The agent of a run, of a checkpoint, or an exported one.

    game: the import path of its game, to be named where that is neither this project's nor registered by an installed
          package: files alone get no other code imported. What was named is kept for the agent's folder.
    RunError if there is no agent, or its game must be named. ValueError if the game that is named cannot be loaded.
    """
    path = Path(path)
    exported = path / AGENT if (path / AGENT).is_file() and not (path / CONFIG).is_file() else path
    if exported.suffix == ".onnx":
        return load_exported(exported, game=game)
    path = path.resolve()
    folder = run_folder(path)
    config = read_config(folder)
    found = [path] if folder != path else checkpoints(folder)
    if not found:
        raise RunError(f"{folder} has no checkpoint yet; train a little longer")
    loaded = load_game_of(folder / CONFIG, config.game, named=game)
    try:
        module = load_network(found[-1], loaded, config.network)
    except RunError as error:
        others = [str(other) for other in (*reversed(found[:-1]), folder / AGENT) if other.exists()]
        raise RunError(f"{error}; name another instead: {' or '.join(others[:2])}" if others else str(error)) from error
    evaluators = NetworkEvaluators(loaded, engine="onnx")
    evaluators.exported = exported_graph(folder, loaded, config.network)
    title = f"{folder.name}, iteration {int(found[-1].name)}"
    return Agent(loaded, evaluators(module), config.search.without_noise(), title, config.self_play.max_moves)


def load_exported(path: Path, *, game: str | None = None) -> Agent:
    """The agent of an agent.onnx with its card, agent.json, beside it. RunError if they do not fit."""
    card_path = path.with_suffix(".json")
    try:
        serialized = path.read_bytes()
        card = json.loads(card_path.read_bytes())
        version, game_path, expected = card["format"], card["game"], card["sha256"]
        search = SearchConfig(**card.get("search", {}))
        longest = SelfPlayConfig(max_moves=card.get("max_moves", MAX_MOVES)).max_moves
        network = NetworkConfig(**card["network"]) if "network" in card else None  # older cards have none
        if not isinstance(game_path, str):
            raise TypeError(f"the game is {game_path!r}")
    except OSError as error:
        fault = f"{error.filename} cannot be read ({error.strerror})"
        raise RunError(f"{fault}; an agent is agent.onnx with agent.json") from error
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{card_path} is not an agent's card ({error!r})") from error
    if version != FORMAT:
        raise RunError(f"{card_path} has format {version}; this version of alphazero reads format {FORMAT}")
    if hashlib.sha256(serialized).hexdigest() != expected:
        raise RunError(f"{path} was truncated or altered: its digest is not the one in {card_path.name}")
    loaded = load_game_of(card_path, game_path, named=game)
    for field, now in agent_form(loaded).items():
        if card.get(field) != now:
            it_has = f"{game or game_path} now has {now}"
            raise RunError(f"{card_path} is of a game with {field} {card.get(field)}; {it_has}")
    try:
        module = None if network is None else in_torch(onnx.load_from_string(serialized), loaded, network)
    except ValueError as error:
        raise RunError(f"{card_path} does not describe the network in {path.name}: {error}") from error
    title = f"{path.resolve().parent.name}/{path.name}, iteration {card.get('iteration', '?')}"
    return Agent(loaded, OnnxEvaluator(loaded, serialized, module=module), search.without_noise(), title, longest)


def exported_graph(folder: Path, game: Game, network: NetworkConfig) -> onnx.ModelProto | None:
    """The run's exported agent, for other weights of the same network: exporting anew takes seconds.

    None if there is none that fits.
    """
    with suppress(OSError, ValueError, KeyError, TypeError):
        card, serialized = json.loads((folder / CARD).read_bytes()), (folder / AGENT).read_bytes()
        fits = agent_form(game).items() <= card.items() and NetworkConfig(**card["network"]) == network
        if fits and hashlib.sha256(serialized).hexdigest() == card["sha256"]:
            return onnx.load_from_string(serialized)
    return None


def continuous_game(card: Path) -> str | None:
    """The game's name if its actions are continuous; None if not, or if the card cannot be read."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        form = json.loads(card.read_bytes())
        return None if isinstance(form["actions"], list) else str(form["name"])
    return None


def agent_form(game: Game) -> dict[str, Any]:
    """The properties in which an agent and its game must agree."""
    return {
        "name": game.name,
        "observation_shape": list(game.observation_shape),
        "actions": [game.action_name(action) for action in range(num_actions(game))]
        if game.discrete
        else {name: list(bound) for name, bound in box_of(game)._asdict().items()},
    }


def export_agent(folder: Path, game: Game, config: Config, model: onnx.ModelProto, *, iteration: int) -> None:
    """Writes agent.onnx and agent.json, for players outside this run."""
    serialized = model.SerializeToString()
    card = {
        "format": FORMAT,
        "game": config.game,
        "iteration": iteration,
        "search": asdict(config.search),
        "network": asdict(config.network),
        "max_moves": config.self_play.max_moves,
        **agent_form(game),
        "inputs": {"observation": "[batch, *observation_shape] float32, seen by the player to move"},
        "outputs": {"logits": policy_of(game).description, "value": "[batch] in [-1, 1], for the player to move"},
        "sha256": hashlib.sha256(serialized).hexdigest(),
    }
    with clear_errors(folder):
        write_file(folder / AGENT, serialized)
        write_file(folder / CARD, json.dumps(card, indent=2).encode())


class Agent(NamedTuple):
    """A trained agent, as `load_agent` reads it.

    search: the settings that it learned with, without their noise.
    title:  its origin, for people.
    max_moves: of its games.
    """

    game: Game
    evaluator: Evaluator
    search: SearchConfig
    title: str
    max_moves: int = MAX_MOVES
