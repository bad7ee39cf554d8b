"""An agent's view of a position: its network, its search, and the samples that it learned from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from alphazero.game import State, take
from alphazero.game.record import Record
from alphazero.mcts.search import search_trees
from alphazero.network.cache import with_cache
from alphazero.replay import Samples
from alphazero.runs.agents import Agent


class ActionStatistics(NamedTuple):
    """The figures of one legal action; values are for the player to move at the position.

    policy:    the improved policy, from which the network would learn.
    visits:    simulations that took it; `visit_share`: their share of all.
    prior:     the network's.
    q:         the search's mean value of it; None without a visit.
    network_q: the network's own value of what follows it.
    score:     by which the root's rule ranks it: g + logits + sigma(q) without noise (Gumbel; normalised
               logits), or Q + U (PUCT).
    replayed:  the mean policy target of the position in the replay buffer; None if it is not there.
    """

    action: int
    policy: float
    visits: int
    visit_share: float
    prior: float
    q: float | None
    network_q: float
    score: float
    replayed: float | None


class ReplayStatistics(NamedTuple):
    """A position in the replay buffer, its mirror images included: samples, means, and iterations."""

    samples: int
    value: float
    outcome: float
    policy: Tensor
    oldest: int
    newest: int


class PositionStatistics(NamedTuple):
    """The figures of an unfinished position; values are for the player to move.

    line:    the moves that the search expects.
    actions: the legal ones, best by improved policy first.
    """

    simulations: int
    value: float
    network_value: float
    depth: int
    line: list[int]
    replay: ReplayStatistics | None
    actions: list[ActionStatistics]


class Explorer:
    """Examines positions with one agent; the network's evaluations are cached."""

    def __init__(self, agent: Agent, load_samples: Callable[[], Samples | None] = lambda: None) -> None:
        """`load_samples` returns the replay buffer, once it is needed: it may be large."""
        self.agent, self._load_samples = agent, load_samples
        self.evaluator = with_cache(agent.game, agent.evaluator)

    @cached_property
    def samples(self) -> Samples | None:
        return self._load_samples()

    @cached_property
    def _keys(self) -> Tensor | None:
        game = self.agent.game
        return game.key(self.samples.state) if self.samples is not None and game.has_key else None

    def examine(self, record: Record, simulations: int) -> PositionStatistics:
        """Searches the record's position with so many simulations. ValueError if it is finished."""
        if record.finished:
            raise ValueError("the game is over: there is nothing to search")
        agent, state, generator = self.agent, record.state, torch.Generator().manual_seed(0)
        config = replace(agent.search, simulations=simulations)
        trees = search_trees(self.evaluator, agent.game, state, config, generator)
        found, scores = trees.result(), trees.root_ranking()[0]
        network_q = self._network_q(state)
        replay = self._replayed(record)
        actions = [
            ActionStatistics(
                action=action,
                policy=float(found.policy[0, action]),
                visits=int(found.visits[0, action]),
                visit_share=int(found.visits[0, action]) / simulations,
                prior=float(found.prior[0, action]),
                q=float(found.q[0, action]) if found.visits[0, action] else None,
                network_q=float(network_q[action]),
                score=float(scores[action]),
                replayed=None if replay is None else float(replay.policy[action]),
            )
            for action in record.legal()
        ]
        return PositionStatistics(
            simulations=simulations,
            value=float(found.value[0]),
            network_value=float(found.raw_value[0]),
            depth=int(found.depth[0]),
            line=trees.main_line(0),
            replay=replay,
            actions=sorted(actions, key=lambda one: (-one.policy, -one.visits)),
        )

    def _network_q(self, state: State) -> Tensor:
        """[A], reward + discount * the network's value behind each action, for the player to move."""
        game = self.agent.game
        legal = game.legal(state)[0].nonzero()[:, 0]
        before = take(state, torch.zeros_like(legal))
        after, reward, done = game.step(before, legal)
        turns = game.to_play(before) != game.to_play(after)
        value = torch.zeros(len(legal))
        if not done.all():
            value[~done] = self.evaluator(take(after, ~done), torch.Generator()).value
        q = torch.zeros(game.legal(state).shape[1])
        q[legal] = reward + game.discount * torch.where(turns, -value, value)
        return q

    def _replayed(self, record: Record) -> ReplayStatistics | None:
        """None if there is no replay buffer, the game has no keys, or the position is not in it."""
        if self.samples is None or self._keys is None:
            return None
        game, found, policies = self.agent.game, [], []
        identity = tuple(range(self.samples.policy.shape[1]))
        images = [(record, identity)]
        images += [(record.mirrored(n), s.actions) for n, s in enumerate(game.symmetries())]
        seen: set[int] = set()
        for image, actions in images:
            key = game.key(image.state)
            if int(key) in seen:  # the position is its own mirror image
                continue
            seen.add(int(key))
            index = (self._keys == key).nonzero()[:, 0]
            found.append(index)
            # The image's action a is the original's actions[a].
            original = torch.empty(len(index), len(identity))
            original[:, list(actions)] = self.samples.policy[index]
            policies.append(original)
        index = torch.cat(found)
        if not len(index):
            return None
        samples = self.samples.at(index)
        return ReplayStatistics(
            samples=len(index),
            value=float(samples.value.mean()),
            outcome=float(samples.outcome.mean()),
            policy=torch.cat(policies).mean(0),
            oldest=int(samples.iteration.min()),
            newest=int(samples.iteration.max()),
        )
