"""Search: from a batch of positions and an evaluator to an improved policy for each.

    result = search(evaluator, game, positions, SearchConfig(simulations=64), generator)

The simulation is `simulate`: select, step, evaluate, back up, for every tree at once.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from alphazero.config import SearchConfig
from alphazero.game import Game, State, Transition, map_states, take
from alphazero.mcts import gumbel, kernels, puct, tree
from alphazero.mcts.tree import Edges, Evaluation, Tree


class Evaluator(Protocol):
    """Says what states are worth, and which actions look good; see `alphazero.evaluate`.

    `generator` draws whatever is random about it (rollouts, sampled actions).
    """

    def __call__(self, states: State, generator: torch.Generator) -> Evaluation: ...


class SearchResult(NamedTuple):
    """What search says of B positions. Actions are indices; those of finished positions mean nothing.

    action:  [B] int64, the one to play: Gumbel's winner of sequential halving, PUCT's most visited.
    policy:  [B, A] float32, improved: pi' (Gumbel), visits / sum visits (PUCT); 0 where illegal.
    value:   [B] float32, for the player to move: sum of pi' times completed Q (Gumbel), which leaves out
             what sequential halving had to try; the mean of all that was backed up (PUCT).
    visits:  [B, A] int32, of the root's edges.
    q:       [B, A] float32, of the root's edges, 0 where unvisited.
    prior:   [B, A] float32, of the root, with noise if there was any.
    raw_value: [B] float32, the evaluator's own value of the root.
    scores:  [B, A] float32, by which Gumbel or PUCT would choose its next action.
    actions: [B, K, D] float32, the sampled actions of a Box game, else None.
    depth:   [B] int64, edges from the root to the deepest node.
    """

    action: Tensor
    policy: Tensor
    value: Tensor
    visits: Tensor
    q: Tensor
    prior: Tensor
    raw_value: Tensor
    scores: Tensor
    actions: Tensor | None
    depth: Tensor


def search(
    evaluator: Evaluator,
    game: Game,
    roots: State,
    config: SearchConfig,
    generator: torch.Generator,
    *,
    gumbel_noise: Tensor | None = None,
    compiled: bool | None = None,
) -> SearchResult:
    """Runs `config.simulations` simulations from each of B unfinished positions.

    `gumbel_noise` [B, A] replaces what would be drawn. `compiled` chooses between the kernels
    (default on the CPU) and the tensor operations (default elsewhere).
    """
    with torch.inference_mode():
        evaluation = evaluator(roots, generator)
        logits = tree.masked(evaluation.logits, game.legal(roots))
        if config.algorithm == "puct":
            logits = puct.noisy_logits(logits, config, generator)
        elif gumbel_noise is None:
            uniform = torch.rand(logits.shape, generator=generator, device=logits.device)
            gumbel_noise = -(-uniform.clamp(min=1e-20).log()).log() * config.gumbel_scale
        planted = tree.plant(roots, evaluation, logits, config.simulations + 1)
        if compiled is None:
            compiled = logits.device.type == "cpu"
        simulator = (CompiledSimulator if compiled else Simulator)(planted, config, gumbel_noise)
        for simulation in range(config.simulations):
            simulate(evaluator, game, simulator, simulation, generator)
        return simulator.result()


def simulate(
    evaluator: Evaluator, game: Game, simulator: Simulator, simulation: int, generator: torch.Generator
) -> None:
    """One descent, one expansion, one evaluation and one backup, for every tree of the batch."""
    planted = simulator.tree
    parent, action = simulator.select(simulation)
    place = simulator.roots + parent
    before = map_states(lambda field: field.index_select(0, place), planted.states)
    move = action if planted.actions is None else planted.actions[place, action]
    transition = game.step(before, move)
    evaluation = evaluate_unfinished(evaluator, transition, planted, generator)
    # A value changes sign exactly where the player to move changes: here, and nowhere else.
    turns = game.to_play(before) ^ game.to_play(transition.state)
    discount = game.discount * (1 - 2 * turns.to(torch.float32))
    logits = tree.masked(evaluation.logits, game.legal(transition.state))
    simulator.backup(parent, action, transition, evaluation, logits, discount, simulation)


def evaluate_unfinished(
    evaluator: Evaluator, transition: Transition, planted: Tree, generator: torch.Generator
) -> Evaluation:
    """What the evaluator says of the positions that are not finished, zeros for the others.

    Where that would wait for the device, it is asked about all of them; `grow` ignores what it
    says of finished ones.
    """
    done = transition.done
    if done.device.type != "cpu" or not done.any():
        return evaluator(transition.state, generator)
    batch, _, width = planted.logits.shape
    actions = None if planted.actions is None else torch.zeros(batch, *planted.actions.shape[1:])
    full = Evaluation(torch.zeros(batch, width), torch.zeros(batch), actions)
    unfinished = (~done).nonzero().squeeze(-1)
    if len(unfinished):
        part = evaluator(take(transition.state, unfinished), generator)
        full.logits[unfinished] = part.logits
        full.value[unfinished] = part.value
        if actions is not None and part.actions is not None:
            actions[unfinished] = part.actions
    return full


class Simulator:
    """The two halves of a simulation around step and evaluation, in tensor operations."""

    def __init__(self, planted: Tree, config: SearchConfig, gumbel_noise: Tensor | None) -> None:
        batch, nodes, width = planted.children.shape
        device = planted.children.device
        self.tree, self.config = planted, config
        self.roots = torch.arange(batch, device=device) * nodes
        self.root = torch.zeros(batch, dtype=torch.int64, device=device)
        self.depth = torch.zeros_like(self.root)
        self.max_depth = config.max_depth or config.simulations
        self.gumbel = torch.zeros(batch, width, device=device) if gumbel_noise is None else gumbel_noise
        most = min(config.considered_actions, width)
        schedule = [gumbel.considered_visits(m, config.simulations) for m in range(most + 1)]
        self.schedule = torch.tensor(schedule, dtype=torch.int32, device=device).view(most + 1, config.simulations)
        self.considered = (planted.logits[:, 0] != tree.ILLEGAL).sum(-1).clamp(max=most)

    def select(self, simulation: int) -> tuple[Tensor, Tensor]:
        """Node and action [B] int64 of the edge to evaluate."""
        parent, action, depth = tree.descend(
            self.tree, self.root_scores(simulation), self.scores, simulation=simulation, max_depth=self.max_depth
        )
        self.depth = torch.maximum(self.depth, depth)
        return parent, action

    def backup(
        self,
        parent: Tensor,
        action: Tensor,
        transition: Transition,
        evaluation: Evaluation,
        logits: Tensor,
        discount: Tensor,
        simulation: int,
    ) -> None:
        tree.grow(
            self.tree,
            parent,
            action,
            transition,
            evaluation.value,
            logits,
            discount,
            simulation=simulation,
            max_depth=self.max_depth,
        )
        child = self.tree.children[torch.arange(self.tree.batch, device=parent.device), parent, action]
        self.keep(self.roots + child, transition.state, evaluation.actions)

    def keep(self, place: Tensor, states: State, actions: Tensor | None) -> None:
        """Stores the new positions, and in a Box game their sampled actions."""
        for stored, new in zip(self.tree.states, states, strict=True):
            stored.index_copy_(0, place, new)
        if self.tree.actions is not None and actions is not None:
            self.tree.actions.index_copy_(0, place, actions)

    def scores(self, edges: Edges) -> Tensor:
        """[B, A], by which a node's next action is chosen."""
        if self.config.algorithm == "puct":
            return puct.scores(edges, self.config)
        return gumbel.scores(edges, self.config)

    def root_scores(self, simulation: int) -> Tensor:
        edges = tree.edges_at(self.tree, self.root)
        if self.config.algorithm == "puct":
            return puct.scores(edges, self.config)
        target = self.schedule[self.considered, simulation]
        return gumbel.root_scores(edges, self.gumbel, target, self.config)

    def result(self) -> SearchResult:
        edges = tree.edges_at(self.tree, self.root)
        legal = edges.logits != tree.ILLEGAL
        if self.config.algorithm == "gumbel":
            most = torch.where(legal, edges.visits, -1).amax(-1)
            scores = gumbel.root_scores(edges, self.gumbel, most, self.config)
            action = scores.argmax(-1)
            policy = gumbel.improved_policy(edges, self.config)
            value = (policy * gumbel.completed_q(edges)).sum(-1)
        else:
            scores = puct.scores(edges, self.config)
            action = torch.where(legal, edges.visits, -1).argmax(-1)
            policy = edges.visits / edges.visits.sum(-1, keepdim=True)
            value = edges.value
        actions = None if self.tree.actions is None else self.tree.actions[self.roots]
        return SearchResult(
            action, policy, value, edges.visits, edges.q, edges.prior, edges.raw_value, scores, actions, self.depth
        )


class CompiledSimulator(Simulator):
    """The same on the CPU, by kernels over the arrays of the same tree."""

    def __init__(self, planted: Tree, config: SearchConfig, gumbel_noise: Tensor | None) -> None:
        super().__init__(planted, config, gumbel_noise)
        self.statistics = tuple(getattr(planted, name).numpy() for name in tree.STATISTICS)
        self.parent, self.action, self.place = (np.zeros(planted.batch, np.int64) for _ in range(3))
        self.depths = self.depth.numpy()
        self.gumbel_array, self.schedule_array = self.gumbel.numpy(), self.schedule.numpy()
        self.considered_array = self.considered.numpy()
        if config.algorithm == "gumbel":
            self.rule, constants = kernels.GUMBEL, (config.c_visit, config.c_scale)
        else:
            self.rule, constants = kernels.PUCT, (config.c_init, config.c_base)
        self.constants = (*(np.float32(c) for c in constants), config.rescale_q)

    def select(self, simulation: int) -> tuple[Tensor, Tensor]:
        kernels.descend(
            *self.statistics,
            self.rule,
            *self.constants,
            self.gumbel_array,
            self.considered_array,
            self.schedule_array,
            simulation,
            self.max_depth,
            self.parent,
            self.action,
            self.depths,
        )
        return torch.from_numpy(self.parent), torch.from_numpy(self.action)

    def backup(
        self,
        parent: Tensor,
        action: Tensor,
        transition: Transition,
        evaluation: Evaluation,
        logits: Tensor,
        discount: Tensor,
        simulation: int,
    ) -> None:
        new = (logits, logits.softmax(-1), evaluation.value, transition.reward, discount, transition.done)
        kernels.grow(
            *self.statistics, self.parent, self.action, *(field.numpy() for field in new), simulation, self.place
        )
        self.keep(torch.from_numpy(self.place), transition.state, evaluation.actions)
