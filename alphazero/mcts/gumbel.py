"""Gumbel AlphaZero: Danihelka et al., "Policy improvement by planning with Gumbel" (ICLR 2022).

The root samples actions without replacement (Gumbel-top-k) and spends its simulations on them by
sequential halving; inner nodes follow the improved policy as closely as counts can. Symbols are
the paper's.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from alphazero.config import SearchConfig
from alphazero.game import ILLEGAL
from alphazero.mcts.tree import Edges


@lru_cache(maxsize=1024)
def considered_visits(considered: int, simulations: int) -> tuple[int, ...]:
    """How many visits the root's next action has, for each simulation of sequential halving.

    Karnin et al. 2013, in the schedule of Danihelka et al., algorithm 2: every phase visits each
    of the actions left equally often, then the better half goes on, until the budget is spent.
    """
    if considered <= 1:
        return tuple(range(simulations))
    phases = math.ceil(math.log2(considered))
    schedule: list[int] = []
    visits, left = 0, considered
    while len(schedule) < simulations:
        for _ in range(max(1, simulations // (phases * left))):
            schedule += [visits] * left
            visits += 1
        left = max(2, left // 2)
    return tuple(schedule[:simulations])


@lru_cache(maxsize=64)
def schedules(most: int, simulations: int, device: torch.device) -> Tensor:
    """`considered_visits` for 0 to `most` considered actions, [most + 1, simulations] int32."""
    with torch.inference_mode(False):
        table = [considered_visits(considered, simulations) for considered in range(most + 1)]
        return torch.tensor(table, dtype=torch.int32, device=device)


def noise(shape: tuple[int, int], config: SearchConfig, generator: torch.Generator) -> Tensor:
    """The root's noise g [B, A]."""
    uniform = torch.rand(shape, generator=generator, device=generator.device)
    return uniform.clamp_(min=1e-20).log_().neg_().log_().neg_().mul_(config.gumbel_scale)


def mixed_value(edges: Edges) -> Tensor:
    """v_mix [B], the value of an unvisited action. Appendix D, equation 33.

    (v + sum N * sum_visited(pi q) / sum_visited(pi)) / (1 + sum N)
    """
    visited = edges.visits > 0
    total = edges.visits.sum(-1)
    mass = torch.where(visited, edges.prior, 0.0).sum(-1)
    weighted = torch.where(visited, edges.prior * edges.q, 0.0).sum(-1)
    mixed = (edges.raw_value + total * (weighted / mass)) / (total + 1)
    return torch.where(mass > 0, mixed, edges.raw_value)


def completed_q(edges: Edges) -> Tensor:
    """[B, A], q where visited and v_mix elsewhere. Equation 10."""
    return torch.where(edges.visits > 0, edges.q, mixed_value(edges)[:, None])


def sigma(q: Tensor, edges: Edges, config: SearchConfig) -> Tensor:
    """(c_visit + max N) c_scale q [B, A]. Equation 8.

    With `rescale_q` the q of a node's legal actions are first stretched to [0, 1], for rewards
    of unknown size (as in MuZero, but by node).
    """
    if config.rescale_q:
        legal = edges.logits != ILLEGAL
        low = torch.where(legal, q, torch.inf).amin(-1, keepdim=True)
        high = torch.where(legal, q, -torch.inf).amax(-1, keepdim=True)
        q = (q - low) / (high - low).clamp(min=1e-8)
    return (config.c_visit + edges.visits.amax(-1, keepdim=True)) * config.c_scale * q


def improved_policy(edges: Edges, config: SearchConfig, q: Tensor | None = None) -> Tensor:
    """pi' = softmax(logits + sigma(completed Q)) [B, A]. Equation 11. `q`: the completed Q, if it is at hand."""
    return (edges.logits + sigma(completed_q(edges) if q is None else q, edges, config)).softmax(-1)


def scores(edges: Edges, config: SearchConfig) -> Tensor:
    """pi'(a) - N(a) / (1 + sum N) [B, A], greatest at the action that an inner node takes. Equation 14."""
    return improved_policy(edges, config) - edges.visits / (1 + edges.visits.sum(-1, keepdim=True))


def root_scores(
    edges: Edges,
    gumbel: Tensor,
    target: Tensor,
    config: SearchConfig,
    q: Tensor | None = None,
    inherited: Tensor | int = 0,
) -> Tensor:
    """g + logits + sigma(q) [B, A] of the actions with `target` [B] visits, -inf of all others; q as above.

    inherited: [B, A], visits that do not count, as they are of an earlier search.
    """
    score = gumbel + edges.logits + sigma(completed_q(edges) if q is None else q, edges, config)
    meant = (edges.visits - inherited == target[:, None]) & (edges.logits != ILLEGAL)
    return torch.where(meant, score, -torch.inf)
