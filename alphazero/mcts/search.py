"""Search: from a batch of positions and an evaluator to an improved policy for each.

    result = search(evaluator, game, positions, SearchConfig(simulations=64), generator)

The simulation is `simulate`: select, expand, evaluate, back up, for every tree at once.
"""

from __future__ import annotations

from typing import Generic, TypedDict, Unpack

import numpy as np
import torch
from torch import Tensor

from alphazero.config import SearchConfig
from alphazero.game import Game, S, map_states, masked
from alphazero.mcts import cuda_graph, gumbel, puct, tree
from alphazero.mcts.evaluator import Evaluation, Evaluator
from alphazero.mcts.tree import Tree
from alphazero.mcts.tree_search import Expansion, SearchResult, TreeSearch, tree_search


class Options(TypedDict, Generic[S], total=False):
    """What a search can be told besides; None is the same as nothing.

    root_evaluator: evaluates the roots, in place of the evaluator of all other positions.
    gumbel_noise:   [B, A] float32, in place of the noise that would be drawn.
    schedule:       [considered_actions + 1, simulations] int32, in place of `gumbel.schedules`.
    gammas:         [B, A] float32, in place of those that would be drawn for PUCT's Dirichlet noise.
    compiled:       whether to use the kernels (default, where there are some) or the tensor operations.
    begun:          what an earlier search knows of the (only) position, to go on with; see `TreeSearch.below`.
    recorded:       whether `search` records itself and repeats the recording (default on a GPU; see `cuda_graph`).
    """

    root_evaluator: Evaluator[S] | None
    gumbel_noise: Tensor | None
    gammas: Tensor | None
    schedule: Tensor | None
    compiled: bool | None
    begun: Tree[S] | None
    recorded: bool | None


def search(
    evaluator: Evaluator[S],
    game: Game[S],
    roots: S,
    config: SearchConfig,
    generator: torch.Generator,
    **options: Unpack[Options[S]],
) -> SearchResult:
    """Runs `config.simulations` simulations from each of B unfinished positions."""
    found = cuda_graph.recorded_search(search_trees, evaluator, game, roots, config, generator, options)
    return found or search_trees(evaluator, game, roots, config, generator, **options).result()


def search_trees(
    evaluator: Evaluator[S],
    game: Game[S],
    roots: S,
    config: SearchConfig,
    generator: torch.Generator,
    **options: Unpack[Options[S]],
) -> TreeSearch[S]:
    """As `search`, with the trees to look at: `.tree`, `.result()` and `.main_line(row)`."""
    with torch.inference_mode():
        trees = plant(evaluator, game, roots, config, generator, **options)
        for simulation in range(config.simulations):
            if trees.proven():
                break
            simulate(evaluator, game, trees, simulation, generator)
        return trees


def plant(
    evaluator: Evaluator[S],
    game: Game[S],
    roots: S,
    config: SearchConfig,
    generator: torch.Generator,
    **options: Unpack[Options[S]],
) -> TreeSearch[S]:
    """Trees that hold nothing but their roots or what is `begun`, ready for `simulate`."""
    with torch.inference_mode():
        evaluation = (options.get("root_evaluator") or evaluator)(roots, generator)
        logits, noise = masked(evaluation.logits, game.legal(roots)), options.get("gumbel_noise")
        shape = logits.shape[0], logits.shape[1]
        if config.algorithm == "puct":
            gammas = options.get("gammas")
            gammas = puct.gammas(shape, config, generator) if gammas is None else gammas
            logits = puct.noisy_logits(logits, config, gammas)
        elif noise is None:
            noise = gumbel.noise(shape, config, generator)
        begun = options.get("begun")
        compiled, goes_on = options.get("compiled"), begun is not None
        make = tree_search(game, logits.device, compiled, shape[1], solver=config.solver, goes_on=goes_on)
        if begun is None:
            root = tree.make_tree(roots, evaluation, logits, config.simulations + 1, bounded=config.solver)
            return make(root, config, noise, options.get("schedule"))
        inherited = begun.visits[:, 0]
        root = tree.enlarged(begun, int(inherited.sum()) + config.simulations + 1)
        root.logits[:, 0], root.prior[:, 0] = logits, logits.softmax(-1)  # those of any node may be less, see `solver`
        return make(root, config, noise, options.get("schedule")).after(inherited)


def simulate(
    evaluator: Evaluator[S], game: Game[S], trees: TreeSearch[S], simulation: int, generator: torch.Generator
) -> None:
    """One selection, one expansion, one evaluation and one backup, for every tree of the batch."""
    place, action = trees.select(simulation)
    expansion = trees.step(game, place, action, simulation)
    evaluation = evaluate_unfinished(evaluator, expansion, trees, generator)
    trees.expand_and_backup(game, expansion, evaluation, simulation)


def evaluate_unfinished(
    evaluator: Evaluator[S], expansion: Expansion[S], trees: TreeSearch[S], generator: torch.Generator
) -> Evaluation:
    """Evaluations of all positions, which asks the evaluator about the unfinished ones only: others count for nothing.

    Where selecting them would wait for the device, it asks about all.
    """
    state, done, tree = expansion.transition.state, trees.finished(expansion), trees.tree
    if done is None or not np.count_nonzero(done):
        return evaluator(state, generator)
    sampled = None if tree.actions is None else torch.zeros_like(tree.actions[: tree.batch])
    full = Evaluation(torch.zeros_like(tree.logits[:, 0]), torch.zeros_like(tree.value[:, 0]), sampled)
    unfinished = torch.from_numpy(np.flatnonzero(~done))
    if len(unfinished):
        asked = map_states(lambda field: field.index_select(0, unfinished), state)
        for field, answer in zip(full, evaluator(asked, generator), strict=True):
            if field is not None and answer is not None:
                field[unfinished] = answer
    return full
