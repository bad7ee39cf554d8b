"""Sparse linear regression: finds the few of many candidates that explain most, however collinear they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from alphazero.dynamics.ude import DiscoveryError

MOST_TERMS, SPARE_TERMS = 6, 2  # of a set; and how many more it may have during the search
RESAMPLES = 20  # for the candidates' shares
RIDGE = 1e-10  # just enough against rounding


class Regression:
    """Linear least squares of a target on K candidates, by blocks of rows.

    blocks: matrices whose columns are the candidates and, last, the target. Only their triangular factors are kept:
    sums of squares depend on nothing else, and they have no more rows than columns.
    """

    def __init__(self, blocks: list[NDArray[np.float64]]) -> None:
        self.blocks = [np.asarray(np.linalg.qr(block, mode="r")) for block in blocks]
        whole = np.asarray(np.linalg.qr(np.concatenate(self.blocks), mode="r"))
        self.features, self.target = whole[:, :-1], whole[:, -1]
        norms = np.linalg.norm(self.features, axis=0)
        scaled = self.features / np.where(norms > 0, norms, 1.0)
        self._products, self._explained = scaled.T @ scaled, scaled.T @ self.target
        self._products[np.diag_indices_from(self._products)] += RIDGE

    def coefficients(self, support: Sequence[int]) -> NDArray[np.float64]:
        return np.asarray(np.linalg.lstsq(self.features[:, list(support)], self.target, rcond=None)[0])

    def left(self, support: Sequence[int]) -> float:
        """The sum of squares that these candidates do not explain."""
        rest = self.target - self.features[:, list(support)] @ self.coefficients(support)
        return float(np.square(rest).sum())

    def best(self, supports: Sequence[Sequence[int]]) -> list[int]:
        """The one of these sets, all of one size, that leaves least."""
        every = np.array(supports)
        explained = self._explained[every]
        products = self._products[every[:, :, None], every[:, None, :]]
        gained = (np.linalg.solve(products, explained[..., None])[..., 0] * explained).sum(1)
        return sorted(every[gained.argmax()].tolist())


def supports(of: Regression) -> list[list[int]]:
    """The best sets that are found, one of each size up to MOST_TERMS, the smallest first.

    Candidates are taken in and left out one at a time and exchanged for one another, up and down the sizes, until no
    size gains (floating search; Pudil, Novovicova and Kittler 1994): the best pair need not hold the best single one.
    It starts with what is left when all candidates are left out one after the other (the stepwise sparse regressor of
    Boninsegna, Nueske and Clementi 2018).
    """
    # A candidate that is 0 throughout explains nothing, and has no norm.
    real = np.flatnonzero(np.square(of.features).sum(0) > 0).tolist()
    if not real:
        raise DiscoveryError("no candidate changes anything that was observed")
    most = min(MOST_TERMS + SPARE_TERMS, len(real))
    best: dict[int, list[int]] = {}

    def offer(support: list[int]) -> bool:
        support = exchanged(of, support, real)
        known = best.get(len(support))
        if known is not None and of.left(support) >= of.left(known) * (1 - 1e-9):
            return False
        best[len(support)] = support
        return True

    support = real
    while len(support) > 1:
        support = of.best([[one for one in support if one != out] for out in support])
        if len(support) <= most:
            offer(support)
    gained = True
    while gained:
        gained = False
        for size in range(1, most + 1):
            smaller = best.get(size - 1, [])
            gained |= offer(of.best([[*smaller, number] for number in real if number not in smaller]))
        for size in range(most, 1, -1):
            gained |= offer(of.best([[one for one in best[size] if one != out] for out in best[size]]))
    return [best[size] for size in range(1, min(MOST_TERMS, most) + 1)]


def exchanged(of: Regression, support: list[int], real: list[int]) -> list[int]:
    """Exchanges candidates of the support for others, one at a time, as long as that explains more."""
    while True:
        others = [
            [*support[:place], number, *support[place + 1 :]]
            for place in range(len(support))
            for number in real
            if number not in support
        ]
        best = of.best(others) if others else support
        if of.left(best) >= of.left(support) * (1 - 1e-9):
            return support
        support = best


def resampled(of: Regression, support: list[int], generator: torch.Generator) -> tuple[float, ...]:
    """The share of resamples, blocks drawn with replacement, whose best set of this size has each candidate."""
    met, count = np.zeros(len(support)), len(of.blocks)
    for _ in range(RESAMPLES):
        drawn = torch.randint(count, (count,), generator=generator).tolist()
        again = Regression([of.blocks[number] for number in drawn])
        if again.features.any():
            met += np.isin(support, supports(again)[: len(support)][-1])
    return tuple((met / RESAMPLES).tolist())
