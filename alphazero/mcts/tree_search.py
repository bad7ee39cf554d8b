"""Trees under search: what a simulation does before and after step and evaluation, and what comes of it.

On any device in tensor operations; on the CPU and on a GPU also by kernels, which tests hold to these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cached_property, partial
from typing import Generic, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alphazero.config import SearchConfig
from alphazero.game import ILLEGAL, CompiledRules, Game, S, Transition, map_states, masked, state_from
from alphazero.mcts import cuda_kernels, gumbel, kernels, puct, solver, tree
from alphazero.mcts.evaluator import Evaluation
from alphazero.mcts.tree import Edges, Tree


class SearchResult(NamedTuple):
    """The result of searching B positions. Actions are indices; those of finished positions mean nothing.

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
    proven:  [B] bool, whether the value is exact, by the tree's own proof; see `solver`.
    plies:   [B] int32, of these: how many moves the proven line takes to the game's end.
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
    proven: Tensor
    plies: Tensor

    def copied(self) -> SearchResult:
        """The same in memory of its own."""
        return self._replace(**{name: field.clone() for name, field in self._asdict().items() if field is not None})

    def moves(self, choice: Tensor) -> Tensor:
        """The actions that `step` takes, by their indices [B] int64: the same in a discrete game."""
        return choice if self.actions is None else self.actions[torch.arange(len(choice), device=choice.device), choice]


class Expansion(NamedTuple, Generic[S]):
    """The positions that a simulation adds to B trees, before they are evaluated.

    turned: [B] bool, whether another player moves than before.
    legal:  [B, A] bool.
    """

    transition: Transition[S]
    turned: Tensor
    legal: Tensor


class TreeSearch(Generic[S]):
    """Trees under search: the parts of a simulation before and after step and evaluation, in tensor operations."""

    def __init__(
        self, root: Tree[S], config: SearchConfig, gumbel_noise: Tensor | None, schedule: Tensor | None = None
    ) -> None:
        """root: trees that hold nothing but their roots, or those of a search that goes on. schedule: see `Options`."""
        batch, nodes, width = root.children.shape
        # Of an earlier search whose tree this one goes on with: its simulations, and their visits of the root's edges.
        self.before, self.inherited = 0, torch.zeros_like(root.visits[:, 0])
        device = root.children.device
        self.tree, self.config = root, config
        by_node = (field.view(nodes, batch, *field.shape[1:]).unbind() for field in root.states)
        self.new_states = list(zip(*by_node, strict=True))  # node after node: the room of all trees' states
        self.trees = torch.arange(batch, device=device)
        self.depth = torch.zeros(batch, dtype=torch.int64, device=device)
        self.settled = torch.zeros_like(self.trees, dtype=torch.bool)  # where walks ended in known finished nodes
        self.max_depth = config.max_depth or nodes - 1
        self.gumbel = torch.zeros(batch, width, device=device) if gumbel_noise is None else gumbel_noise
        most = min(config.considered_actions, width)
        self.schedule = gumbel.schedules(most, config.simulations, device) if schedule is None else schedule

    @cached_property
    def considered(self) -> Tensor:
        """[B] int64, the numbers of root actions that sequential halving begins with."""
        return (self.tree.logits[:, 0] != ILLEGAL).sum(-1).clamp(max=len(self.schedule) - 1)

    def enlarged(self, simulations: int, schedule: Tensor) -> TreeSearch[S]:
        """The same search with room for so many simulations in all, and a schedule for those that are still to come."""
        config = replace(self.config, simulations=simulations)
        larger = self.made(tree.enlarged(self.tree, self.before + simulations + 1), config, self.gumbel, schedule)
        larger.depth.copy_(self.depth)
        return larger.after(self.inherited)

    def after(self, inherited: Tensor) -> TreeSearch[S]:
        """The same search, where these visits [B, A] are of an earlier one."""
        self.inherited.copy_(inherited)
        self.before = int(inherited[0].sum())
        return self

    def below(self, states: S) -> Tree[S] | None:
        """What the tree of a single position holds below this other one, which becomes its root; None if nothing.

        It is of use to a later search of the same game; see `Options`. Of a Box game there is nothing: a root draws its
        actions anew. Nor is there of a search that has reached its `max_depth`.
        """
        if self.tree.batch > 1 or self.tree.actions is not None:
            return None
        if self.config.max_depth and int(self.depth.max()) >= self.config.max_depth:
            return None  # nodes that were visited again and again without children would be inner ones
        same = [
            (of_nodes == now).reshape(len(of_nodes), -1).all(1)
            for of_nodes, now in zip(self.tree.states, states, strict=True)
        ]
        visits = self.tree.visits[0].sum(-1) * (torch.stack(same).all(0) & ~self.tree.finished[0])
        node = 1 + int(visits[1:].argmax())
        return tree.subtree(self.tree, node) if visits[node] else None

    @property
    def made(self) -> Callable[..., TreeSearch[S]]:
        """Makes a search of the same kind, by what the constructor takes."""
        return type(self)

    def select(self, simulation: int) -> tuple[Tensor, Tensor]:
        """The edges to evaluate: their nodes' places among all states, and their actions, [B] int64."""
        self.parent, self.action, depth = tree.select(
            self.tree,
            self.root_scores(simulation),
            self.scores,
            simulation=self.before + simulation,
            max_depth=self.max_depth,
        )
        self.depth = torch.maximum(self.depth, depth)
        self.settled = tree.is_settled(self.tree, (self.parent, self.action))
        return self.parent * self.tree.batch + self.trees, self.action

    def step(self, game: Game[S], place: Tensor, action: Tensor, simulation: int) -> Expansion[S]:
        """Plays the selected actions, and stores the new positions.

        Where a walk ended in a known node, the room of the new one stays unused.
        """
        before = map_states(lambda field: field.index_select(0, place), self.tree.states)
        transition = game.step(before, action if self.tree.actions is None else self.tree.actions[place, action])
        for room, new in zip(self.new_states[self.before + simulation + 1], transition.state, strict=True):
            room.copy_(new)
        turned = game.to_play(before) != game.to_play(transition.state)
        return Expansion(transition, turned, game.legal(transition.state))

    def finished(self, expansion: Expansion[S]) -> NDArray[np.bool_] | None:
        """[B], which positions are finished or proven; None where looking at them would wait for the device."""
        done = expansion.transition.done
        return (done | self.settled).numpy() if done.is_cpu else None

    def proven(self) -> bool:
        """Whether the values of all roots are proven, so that nothing is left to search; never said on a GPU."""
        return self.config.solver and self.tree.finished.is_cpu and bool(self.tree.finished[:, 0].all())

    def expand_and_backup(
        self, game: Game[S], expansion: Expansion[S], evaluation: Evaluation, simulation: int
    ) -> None:
        """Puts the new nodes into the trees, and backs their values up."""
        # A value changes sign exactly where the player to move changes: here, and nowhere else.
        discount = game.discount * (1 - 2 * expansion.turned.to(torch.float32))
        logits, edge = masked(evaluation.logits, expansion.legal), (self.parent, self.action)
        number = self.before + simulation
        node = tree.expand(self.tree, edge, expansion.transition, evaluation.value, logits, discount, simulation=number)
        tree.backup(self.tree, node, simulation=number, max_depth=self.max_depth)
        self.keep(evaluation.actions, simulation)

    def keep(self, actions: Tensor | None, simulation: int) -> None:
        """Stores the new nodes' sampled actions, in a Box game."""
        if self.tree.actions is not None and actions is not None:
            self.tree.actions[(self.before + simulation + 1) * self.tree.batch :][: self.tree.batch] = actions

    def scores(self, edges: Edges) -> Tensor:
        """[B, A], by which a node's next action is chosen."""
        if self.config.algorithm == "puct":
            return puct.scores(edges, self.config)
        return gumbel.scores(edges, self.config)

    def root_scores(self, simulation: int) -> Tensor:
        """[B, A], by which the root's next action is chosen."""
        edges = tree.root_edges(self.tree)
        if self.config.algorithm == "puct":
            scores = puct.scores(edges, self.config)
        else:
            target = self.schedule[self.considered, simulation]
            scores = gumbel.root_scores(edges, self.gumbel, target, self.config, inherited=self.inherited)
        if self.tree.bounds is None:
            return scores
        # Nothing is left to search in the tree of a proven root, and what is asked for costs no evaluation.
        exact = solver.root_edge_bounds(self.tree, self.tree.bounds).exact
        return torch.where(self.tree.finished[:, :1], exact.float(), scores)

    def root_ranking(self) -> Tensor:
        """[B, A], the scores of all the root's actions without noise: normalised logits + sigma(q), or PUCT's Q + U."""
        edges = tree.root_edges(self.tree)
        if self.config.algorithm == "puct":
            return puct.scores(edges, self.config)
        return edges.logits.log_softmax(-1) + gumbel.sigma(gumbel.completed_q(edges), edges, self.config)

    def result(self) -> SearchResult:
        edges = tree.root_edges(self.tree)
        action, policy, value, scores = self.decide(edges)
        actions = None if self.tree.actions is None else self.tree.actions[: self.tree.batch]
        # The trees go, and the result stays.
        visits, q, prior, raw_value = (field.clone() for field in (edges.visits, edges.q, edges.prior, edges.raw_value))
        bounds, proven = self.tree.bounds, self.tree.finished[:, 0].clone()
        plies = bounds.plies[:, 0].clone() if bounds else torch.zeros_like(self.depth, dtype=torch.int32)
        return SearchResult(
            action, policy, value, visits, q, prior, raw_value, scores, actions, self.depth, proven, plies
        )

    def decide(self, edges: Edges) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Action, policy, value and scores of a `SearchResult`. `edges`: those of the roots."""
        if (bounds := self.tree.bounds) is None:
            return self.chosen(edges)
        eligible = solver.eligible(self.tree, bounds)
        action, policy, value, scores = self.chosen(edges._replace(logits=torch.where(eligible, edges.logits, ILLEGAL)))
        return action, policy, value.clamp(bounds.low[:, 0], bounds.high[:, 0]), scores

    def chosen(self, edges: Edges) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The same among the legal edges, by their statistics alone."""
        legal = edges.logits != ILLEGAL
        if self.config.algorithm == "gumbel":
            most, q = torch.where(legal, edges.visits - self.inherited, -1).amax(-1), gumbel.completed_q(edges)
            scores = gumbel.root_scores(edges, self.gumbel, most, self.config, q, self.inherited)
            policy = gumbel.improved_policy(edges, self.config, q)
            return scores.argmax(-1), policy, (policy * q).sum(-1), scores
        visits = torch.where(legal, edges.visits, 0)
        total = visits.sum(-1, keepdim=True)
        # With a solver, all visits may have gone to actions that turned out to be lost.
        policy = torch.where(total > 0, visits / total, edges.logits.softmax(-1))
        action = torch.where(legal, edges.visits, -1).argmax(-1)
        return action, policy, edges.value.clone(), puct.scores(edges, self.config)

    def main_line(self, row: int) -> list[int]:
        """The line of play that tree `row` expects: the chosen action, then the most visited ones."""
        line, node, action = [], 0, int(self.result().action[row])
        while True:
            line.append(action)
            node = int(self.tree.children[row, node, action])
            if node == tree.UNVISITED or not self.tree.visits[row, node].any():
                return line
            action = int(self.tree.visits[row, node].argmax())


class CompiledTreeSearch(TreeSearch[S]):
    """The same on the CPU, by kernels over the tree's arrays."""

    def __init__(
        self, root: Tree[S], config: SearchConfig, gumbel_noise: Tensor | None, schedule: Tensor | None = None
    ) -> None:
        super().__init__(root, config, gumbel_noise, schedule)
        arrays = {name: getattr(root, name).numpy() for name in tree.STATISTICS}  # the same memory, as all arrays here
        statistics = tuple(arrays.values())
        self.parent, self.action, self.place = torch.zeros(3, root.batch, dtype=torch.int64)
        edges = self.parent.numpy(), self.action.numpy()
        if config.algorithm == "gumbel":
            rule, constants = kernels.GUMBEL, (config.c_visit, config.c_scale)
        else:
            rule, constants = kernels.PUCT, (config.c_init, config.c_base)
        scoring = rule, *map(np.float32, constants), config.rescale_q, self.gumbel.numpy(), self.inherited.numpy()
        # The kernels' arguments that stay the same over all simulations.
        self.rules = *statistics, *scoring, self.schedule.numpy()
        self.walks = *edges, self.place.numpy(), self.depth.numpy(), self.settled.numpy()
        bounds = None if root.bounds is None else tuple(bound.numpy() for bound in root.bounds)
        self.grown = *statistics, bounds, *edges
        self.roots = *(arrays[name] for name in Edges._fields), *scoring

    def select(self, simulation: int) -> tuple[Tensor, Tensor]:
        kernels.select(*self.rules, self.before, self.before + simulation, self.max_depth, *self.walks)
        return self.place, self.action

    def expand_and_backup(
        self, game: Game[S], expansion: Expansion[S], evaluation: Evaluation, simulation: int
    ) -> None:
        evaluated = evaluation.logits.contiguous().numpy(), evaluation.value.contiguous().numpy()
        number = self.before + simulation
        kernels.expand_and_backup(*self.grown, *evaluated, *self.arrays(expansion), game.discount, number)
        if evaluation.actions is not None:
            self.keep(evaluation.actions, simulation)

    def arrays(self, expansion: Expansion[S]) -> Iterable[NDArray[np.generic]]:
        """All but the positions, as arrays."""
        (_, reward, done), turned, legal = expansion
        return (field.contiguous().numpy() for field in (reward, done, turned, legal))

    def chosen(self, edges: Edges) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if self.config.solver or self.before:
            return super().chosen(edges)  # once a search, and what is left of the edges is not in the tree's memory
        action, value = torch.empty_like(self.depth), torch.empty_like(edges.value)
        policy, scores = torch.empty_like(edges.q), torch.empty_like(edges.q)
        found = action, policy, value, scores
        kernels.decide(*self.roots, *(field.numpy() for field in found))
        return found


class CompiledRulesSearch(CompiledTreeSearch[S]):
    """The same with a game whose rules are one compiled function, which reads and writes the trees' own positions."""

    def __init__(
        self,
        root: Tree[S],
        config: SearchConfig,
        gumbel_noise: Tensor | None,
        schedule: Tensor | None = None,
        *,
        rules: CompiledRules,
    ) -> None:
        super().__init__(root, config, gumbel_noise, schedule)
        batch, width = root.batch, root.children.shape[2]
        self.rules_of_game = rules
        self.read = *(field.numpy() for field in root.states), self.place.numpy(), self.action.numpy()
        reward, done, turned = (torch.empty(batch, dtype=kind) for kind in (torch.float32, torch.bool, torch.bool))
        self.found = reward, done, turned, torch.empty(batch, width, dtype=torch.bool)
        self.written = [field.numpy() for field in self.found]

    @property
    def made(self) -> Callable[..., TreeSearch[S]]:
        return partial(CompiledRulesSearch, rules=self.rules_of_game)

    def step(self, game: Game[S], place: Tensor, action: Tensor, simulation: int) -> Expansion[S]:
        node = self.before + simulation + 1
        self.rules_of_game(*self.read, node * self.tree.batch, *self.written)
        reward, done, turned, legal = self.found
        successors = state_from(type(self.tree.states), self.new_states[node])
        return Expansion(Transition(successors, reward, done), turned, legal)

    def finished(self, expansion: Expansion[S]) -> NDArray[np.bool_] | None:
        done: NDArray[np.bool_] = self.written[1] | self.settled.numpy()
        return done

    def arrays(self, expansion: Expansion[S]) -> Iterable[NDArray[np.generic]]:
        return self.written


class CudaTreeSearch(TreeSearch[S]):
    """The same on a GPU, by kernels over the tree's arrays, a thread for each tree."""

    def __init__(
        self, root: Tree[S], config: SearchConfig, gumbel_noise: Tensor | None, schedule: Tensor | None = None
    ) -> None:
        super().__init__(root, config, gumbel_noise, schedule)
        batch, nodes, width = root.children.shape
        found = cuda_kernels.compiled(width, root.children.device)
        assert found, "`tree_search` chooses this class only where there are kernels"
        self.kernels = found
        self.parent, self.action, self.place = (torch.zeros_like(self.depth) for _ in range(3))
        self.statistics = [getattr(root, name) for name in tree.STATISTICS]
        if config.algorithm == "gumbel":
            rule, constants = kernels.GUMBEL, (config.c_visit, config.c_scale)
        else:
            rule, constants = kernels.PUCT, (config.c_init, config.c_base)
        self.sizes = [batch, nodes]
        self.rules = [self.schedule.shape[1], rule, int(config.rescale_q), *map(float, constants)]

    def select(self, simulation: int) -> tuple[Tensor, Tensor]:
        halving = [self.gumbel, self.considered, self.schedule]
        walks = [self.parent, self.action, self.place, self.depth]
        arguments = [*self.statistics, *halving, *walks, *self.sizes, *self.rules, simulation, self.max_depth]
        cuda_kernels.launch(self.kernels.select_edges, self.tree.batch, arguments)
        return self.place, self.action

    def expand_and_backup(
        self, game: Game[S], expansion: Expansion[S], evaluation: Evaluation, simulation: int
    ) -> None:
        (_, reward, done), turned, legal = expansion
        found = (evaluation.logits, evaluation.value, reward, done, turned, legal)
        arrays = [*self.statistics, self.parent, self.action, *(field.contiguous() for field in found)]
        numbers = [*self.sizes, legal.shape[1], float(game.discount), simulation]
        cuda_kernels.launch(self.kernels.expand_and_backup, self.tree.batch, [*arrays, *numbers])
        self.keep(evaluation.actions, simulation)


def tree_search(
    game: Game[S],
    device: torch.device,
    compiled: bool | None,
    width: int,
    *,
    solver: bool = False,
    goes_on: bool = False,
) -> Callable[[Tree[S], SearchConfig, Tensor | None, Tensor | None], TreeSearch[S]]:
    """What searches trees of `width` actions on the device; `compiled` as in `Options`, `solver` as configured.

    goes_on: whether it goes on with an earlier search's tree. The GPU's kernels can do neither that nor proofs.
    """
    if compiled is False:
        return TreeSearch
    if device.type == "cpu":
        return partial(CompiledRulesSearch, rules=game.compiled_rules) if game.compiled_rules else CompiledTreeSearch
    if device.type == "cuda" and not (solver or goes_on) and cuda_kernels.compiled(width, device):
        return CudaTreeSearch
    return TreeSearch
