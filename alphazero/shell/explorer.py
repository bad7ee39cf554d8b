"""An agent's view of a position: its network, its search, and the samples that it learned from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from alphazero.game import State, num_actions, take
from alphazero.game.record import Record
from alphazero.mcts.search import search_trees
from alphazero.mcts.tree_search import SearchResult
from alphazero.network.cache import with_cache
from alphazero.replay import Samples
from alphazero.runs.agents import Agent

CHUNK = 4096  # samples that are observed at once


class PositionStatistics(NamedTuple):
    """The figures of an unfinished position; values are for the player to move.

    search:    the search's result, with a batch of one.
    line:      the moves that the search expects.
    actions:   the legal ones, best by improved policy first.
    network_q: [A], the network's own value of what follows each action.
    score:     [A], by which the root's rule ranks them: g + logits + sigma(q) without noise (Gumbel; normalised
               logits), or Q + U (PUCT).
    replayed:  the samples of the position in the replay buffer, and those of its mirror images turned back, but for
               their states; None if it is not there. Positions that look the same to the player to move are one.
    """

    simulations: int
    search: SearchResult
    line: list[int]
    actions: list[int]
    network_q: Tensor
    score: Tensor
    replayed: Samples | None


class Explorer:
    """Examines positions with one agent, whose evaluations are cached from here on, for all who ask this agent."""

    def __init__(self, agent: Agent, load_samples: Callable[[], Samples | None] = lambda: None) -> None:
        """`load_samples` returns the replay buffer, once it is needed: it may be large."""
        self.agent = agent._replace(evaluator=with_cache(agent.game, agent.evaluator))
        self.samples = cache(load_samples)

    @cached_property
    def _marks(self) -> Tensor:
        """[M] int64, of the samples' observations; see `marks`."""
        samples = self.samples()
        if samples is None:
            return torch.empty(0)
        parts = (take(samples.state, slice(start, start + CHUNK)) for start in range(0, samples.size, CHUNK))
        return torch.cat(
            [torch.tensor([], dtype=torch.int64), *(marks(self.agent.game.observe(part)) for part in parts)]
        )

    def examine(self, record: Record, simulations: int) -> PositionStatistics:
        """Searches the record's position with so many simulations. ValueError if it is finished."""
        if record.finished:
            raise ValueError("the game is over: there is nothing to search")
        agent, generator = self.agent, torch.Generator().manual_seed(0)
        config = replace(agent.search, simulations=simulations)
        trees = search_trees(agent.evaluator, agent.game, record.state, config, generator)
        found = trees.result()
        return PositionStatistics(
            simulations=int(found.visits.sum()),  # fewer than asked for, where a proof ended the search
            search=found,
            line=trees.main_line(0),
            actions=sorted(record.legal(), key=lambda a: (-float(found.policy[0, a]), -int(found.visits[0, a]))),
            network_q=self._network_q(record.state),
            score=trees.root_ranking()[0],
            replayed=self._replayed(record),
        )

    def _network_q(self, state: State) -> Tensor:
        """[A], reward + discount * the network's value behind each action, for the player to move."""
        game = self.agent.game
        legal = game.legal(state)[0].nonzero()[:, 0]
        before = take(state, torch.zeros_like(legal))
        after, reward, done = game.step(before, legal)
        turns = game.to_play(before) != game.to_play(after)
        value = torch.zeros(len(legal))
        for row in (~done).nonzero():  # one by one as in a search, which will find the very same in the cache
            value[row] = self.agent.evaluator(take(after, row), torch.Generator()).value
        q = reward + game.discount * torch.where(turns, -value, value)
        return torch.zeros(num_actions(game)).scatter(0, legal, q)

    def _replayed(self, record: Record) -> Samples | None:
        """None if there is no replay buffer, or the position is not in it."""
        game, samples = self.agent.game, self.samples()
        if samples is None:
            return None
        # Each image once, though the position be its own mirror image; and the image's actions. A symmetry maps
        # observations: the image need not follow from the record's start, if that is random.
        seen = game.observe(record.state)
        images = {int(marks(seen)): tuple(range(num_actions(game)))}
        for symmetry in game.symmetries():
            images.setdefault(int(marks(symmetry.observation(seen))), symmetry.actions)
        indices = [(self._marks == mark).nonzero()[:, 0] for mark in images]
        if not len(index := torch.cat(indices)):
            return None
        # The image's action a is the original's actions[a].
        policies = [
            samples.policy[of_image][:, torch.tensor(actions).argsort()]
            for of_image, actions in zip(indices, images.values(), strict=True)
        ]
        return samples.at(index)._replace(policy=torch.cat(policies))


def marks(observation: Tensor) -> Tensor:
    """[B] int64, which tell different observations apart: a hash of the bytes of each."""
    rows = (observation + 0.0).flatten(1).numpy()  # -0.0 becomes 0.0
    return torch.tensor([hash(row.tobytes()) for row in rows], dtype=torch.int64)
