"""Trained agents: found in runs and checkpoints, exported, and read back.

An exported agent is agent.onnx, its network, with agent.json, its card: the game, the settings of the
search, the inputs and outputs, and the network's digest.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import onnx
from pydantic import ValidationError

from alphazero.config import MAX_MOVES, Config, NetworkConfig, SearchConfig, SelfPlayConfig
from alphazero.game import Game, box_of, num_actions
from alphazero.game.messages import printable, shortened
from alphazero.mcts.evaluator import Evaluator
from alphazero.mcts.policy import policy_of
from alphazero.network.architectures import in_torch
from alphazero.network.exported import LARGEST, evaluator_of, read_model
from alphazero.network.inference import NetworkEvaluators
from alphazero.runs.checkpoint import checkpoints, load_network, read_config, run_folder
from alphazero.runs.configuration import describe_faults
from alphazero.runs.files import AGENT, CARD, CONFIG, RunError, clear_errors, read_file, read_json, write_file
from alphazero.runs.trust import NETWORKS, allow_network, allowed, load_game_of

FORMAT = 1  # of agent.json
AN_AGENT = "an agent is agent.onnx with agent.json"


def load_agent(path: Path | str, *, game: str | None = None, network: str | None = None) -> Agent:
    """The agent of a run, of a checkpoint, or an exported one.

    game:    the import path of its game, to be named where that is neither this project's nor registered by an
             installed package: files alone get no other code imported. What was named is kept for the agent's folder.
    network: the same of its network, if that is a class of somebody's own. An exported agent plays without its code.
    RunError if there is no agent, or one of them must be named. ValueError if the game that is named cannot be loaded.
    """
    path = Path(path)
    exported = path / AGENT if (path / AGENT).is_file() and not (path / CONFIG).is_file() else path
    if exported.suffix == ".onnx":
        return load_exported(exported, game=game, network=network)
    path = path.resolve()
    folder = run_folder(path)
    config = read_config(folder)
    found = [path] if folder != path else checkpoints(folder)
    if not found:
        raise RunError(f"{folder} has no checkpoint yet; train a little longer")
    loaded = load_game_of(folder / CONFIG, config.game, named=game)
    try:
        allow_network(folder / CONFIG, config.network, named=network)
    except RunError as error:
        without = f"; or play {folder / AGENT}, which needs no code of its network" if (folder / AGENT).exists() else ""
        raise RunError(f"{error}{without}") from error
    try:
        module = load_network(found[-1], loaded, config.network)
    except RunError as error:
        others = [str(other) for other in (*reversed(found[:-1]), folder / AGENT) if other.exists()]
        raise RunError(f"{error}; name another instead: {' or '.join(others[:2])}" if others else str(error)) from error
    evaluators = NetworkEvaluators(loaded, engine="onnx")
    evaluators.exported = exported_graph(folder, loaded, config.network)
    title = f"{folder.name}, iteration {int(found[-1].name)}"
    search = config.search.at_the_board(discrete=loaded.discrete)
    return Agent(loaded, evaluators(module), search, title, config.self_play.max_moves)


def load_exported(path: Path, *, game: str | None = None, network: str | None = None) -> Agent:
    """The agent of an agent.onnx with its card, agent.json, beside it. RunError if they do not fit.

    It plays by agent.onnx alone. A network of somebody's own is imported only where the search differentiates its
    values (`search.refine_steps`), and only if the card may ask for it; otherwise the search refines nothing.
    """
    card_path = path.with_suffix(".json")
    try:
        serialized = read_file(path, LARGEST)
    except ValueError as error:
        raise RunError(f"{path} is no agent: {error}") from error
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror}); {AN_AGENT}") from error
    try:
        card = read_json(card_path)
        version, game_path, expected = card["format"], card["game"], card["sha256"]
        search = SearchConfig(**card.get("search", {}))
        longest = SelfPlayConfig(max_moves=card.get("max_moves", MAX_MOVES)).max_moves
        described = NetworkConfig(**card["network"]) if "network" in card else None  # older cards have none
        if not isinstance(game_path, str):
            raise TypeError(f"the game is {printable(game_path)}")
        if not isinstance(iteration := card.get("iteration", "?"), int) and iteration != "?":
            raise TypeError(f"the iteration is {printable(iteration)}")
    except OSError as error:
        raise RunError(f"{card_path} cannot be read ({error.strerror}); {AN_AGENT}") from error
    except ValidationError as error:
        raise RunError(f"{card_path} is not an agent's card: {describe_faults(error)[0]}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{card_path} is not an agent's card ({shortened(repr(error), 200)})") from error
    if version != FORMAT:
        raise RunError(f"{card_path} has format {printable(version)}; this version of alphazero reads format {FORMAT}")
    if hashlib.sha256(serialized).hexdigest() != expected:
        raise RunError(f"{path} was truncated or altered: its digest is not the one in {card_path.name}")
    loaded = load_game_of(card_path, game_path, named=game)
    for field, now in agent_form(loaded).items():
        if card.get(field) != now:
            of = f"{field} {printable(card.get(field))}"
            raise RunError(f"{card_path} is of a game with {of}; {game or game_path} now has {printable(now)}")
    described, search = _in_torch_too(card_path, described, search, named=network)
    try:
        model = read_model(serialized, loaded)
        module = None if described is None else in_torch(model, loaded, described)
        evaluator = evaluator_of(serialized, loaded, module)
    except ValueError as error:
        raise RunError(f"{path} is no network for {card_path.name} beside it: {error}; export it again") from error
    title = f"{path.resolve().parent.name}/{path.name}, iteration {iteration}"
    return Agent(loaded, evaluator, search.at_the_board(discrete=loaded.discrete), title, longest)


def _in_torch_too(
    card: Path, network: NetworkConfig | None, search: SearchConfig, *, named: str | None
) -> tuple[NetworkConfig | None, SearchConfig]:
    """The network if it must be there in torch as well, and the search, which refines nothing without.

    named: as for `load_agent`. RunError if the network must be imported, and cannot be.
    """
    if network is None or not network.own:
        return network, search
    if not search.refine_steps or not (network.kind == named or allowed(card, network.kind, NETWORKS)):
        return None, replace(search, refine_steps=0)
    allow_network(card, network, named=named)
    return network, search


def exported_graph(folder: Path, game: Game, network: NetworkConfig) -> onnx.ModelProto | None:
    """The run's exported agent, for other weights of the same network: exporting anew takes seconds.

    None if there is none that fits.
    """
    with suppress(OSError, ValueError, KeyError, TypeError):
        card, serialized = read_json(folder / CARD), read_file(folder / AGENT, LARGEST)
        fits = all(card[field] == now for field, now in agent_form(game).items())
        fits &= NetworkConfig(**card["network"]) == network
        if fits and hashlib.sha256(serialized).hexdigest() == card["sha256"]:
            model = read_model(serialized, game)
            evaluator_of(serialized, game, in_torch(model, game, network))
            return model
    return None


def continuous_game(card: Path) -> str | None:
    """The game's name if its actions are continuous; None if not, or if the card cannot be read."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        form = read_json(card)
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
