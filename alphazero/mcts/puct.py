"""AlphaZero's own rule: Silver et al. 2017 (AlphaGo Zero) and 2018 (AlphaZero)."""

from __future__ import annotations

import torch
from torch import Tensor

from alphazero.config import SearchConfig
from alphazero.game import ILLEGAL
from alphazero.mcts.tree import Edges


def gammas(shape: tuple[int, int], config: SearchConfig, generator: torch.Generator) -> Tensor | None:
    """What Dirichlet noise is made of, [B, A]; None without noise.

    A Dirichlet draw is a normalised draw of gammas; torch.distributions takes no generator.
    """
    if config.dirichlet_fraction == 0:
        return None
    concentration = torch.full(shape, config.dirichlet_alpha, device=generator.device)
    return torch._standard_gamma(concentration, generator=generator).clamp(min=1e-30)


def noisy_logits(logits: Tensor, config: SearchConfig, gammas: Tensor | None) -> Tensor:
    """The root's logits [B, A] after prior temperature and Dirichlet noise over legal actions.

    P = (1 - epsilon) p + epsilon eta, eta ~ Dir(alpha). Silver et al. 2017, Methods, "Self-play".
    """
    legal = logits != ILLEGAL
    prior = torch.where(legal, logits / config.prior_temperature, ILLEGAL).softmax(-1)
    if gammas is not None:
        noise = torch.where(legal, gammas, 0.0)
        noise = noise / noise.sum(-1, keepdim=True).clamp(min=1e-30)
        prior = (1 - config.dirichlet_fraction) * prior + config.dirichlet_fraction * noise
    return torch.where(legal, prior.clamp(min=1e-30).log(), ILLEGAL)


def scores(edges: Edges, config: SearchConfig) -> Tensor:
    """Q + C(s) P sqrt(N) / (1 + n) [B, A], -inf where illegal.

    C(s) = log((1 + N + c_base) / c_base) + c_init, Silver et al. 2018, Methods; N counts the
    node's own evaluation. An action without visits has the node's value as its Q, where the paper
    has 0: neither hope nor fear of the unknown. With `rescale_q`, Q is stretched to [0, 1]
    between the least and the greatest of those at the node.
    """
    visited = edges.visits > 0
    count = 1 + edges.visits.sum(-1, keepdim=True)
    q = torch.where(visited, edges.q, edges.value[:, None])
    if config.rescale_q:
        low = torch.minimum(q.amin(-1, keepdim=True), edges.value[:, None])
        high = torch.maximum(q.amax(-1, keepdim=True), edges.value[:, None])
        q = (q - low) / (high - low).clamp(min=1e-8)
    exploration = (config.c_init + torch.log((count + config.c_base + 1) / config.c_base)) * count.sqrt()
    score = q + exploration * edges.prior / (1 + edges.visits)
    return torch.where(edges.logits != ILLEGAL, score, -torch.inf)
