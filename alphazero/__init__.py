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
"""

import os

# Packages below report on their use to their makers, unless they are told not to before they are loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
