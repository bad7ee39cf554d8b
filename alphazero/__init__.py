"""An AlphaZero engine: batched tree search, self-play, replay and learning, general over games.

The core, from the bottom up:

    game        the interface of a game, and `check_game`, which holds a game to it
    config      the settings of a run; their docstrings are what --help shows
    mcts        the tree search: Gumbel AlphaZero and PUCT over a batch of trees
    network     networks, the engines that run them, a cache of evaluations
    replay      the replay buffer
    selfplay    a batch of games that becomes samples
    learner     samples that become weights
    trainer     the training loop, and a run around it

What stands around the core:

    parallel    who runs work side by side: threads, or Ray's workers on many machines
    runs        the files of a run: checkpoints, metrics, exported agents
    arena       players, matches, ratings, solved positions, benchmarks
    report      what people see of a run: terminal, TensorBoard, curves, reports
    shell       play and explore in a terminal
    dynamics    equations of motion whose missing terms are learned from data
    library     what a notebook needs, in the names that `import alphazero` offers
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

# Packages below report on their use to their makers, unless they are told not to before they are loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

if TYPE_CHECKING:
    from alphazero.config import Config as Config
    from alphazero.config import SearchConfig as SearchConfig
    from alphazero.game import Box as Box
    from alphazero.game import Discrete as Discrete
    from alphazero.game import Game as Game
    from alphazero.game import PythonGame as PythonGame
    from alphazero.game import check_game as check_game
    from alphazero.game import load_game as load_game
    from alphazero.library import Agent as Agent
    from alphazero.library import Thought as Thought
    from alphazero.library import benchmark as benchmark
    from alphazero.library import load_agent as load_agent
    from alphazero.library import load_config as load_config
    from alphazero.library import match as match
    from alphazero.library import read_metrics as read_metrics
    from alphazero.library import train as train
    from alphazero.mcts.evaluator import Evaluation as Evaluation
    from alphazero.mcts.search import search as search

OFFERED = {  # by module, the names that `alphazero` itself offers; a module is imported when it is asked for
    "alphazero.config": ("Config", "SearchConfig"),
    "alphazero.game": ("Box", "Discrete", "Game", "PythonGame", "check_game", "load_game"),
    "alphazero.library": (
        "Agent", "Thought", "benchmark", "load_agent", "load_config", "match", "read_metrics", "train",
    ),
    "alphazero.mcts.evaluator": ("Evaluation",),
    "alphazero.mcts.search": ("search",),
}  # fmt: skip
_MODULE_OF = {name: module for module, names in OFFERED.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULE_OF])
