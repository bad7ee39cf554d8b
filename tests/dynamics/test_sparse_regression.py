"""Sparse regression against an exhaustive search."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from alphazero.dynamics.sparse_regression import Regression, supports


def test_supports_are_those_of_an_exhaustive_search() -> None:
    """Collinear columns, among which greedy methods go astray."""
    source = np.random.default_rng(3)
    base = source.normal(size=(200, 3))
    columns = np.c_[base, base @ source.normal(size=(3, 4)) + 0.3 * source.normal(size=(200, 4))]
    target = columns[:, [0, 3, 5]] @ [1.0, -1.2, 0.7] + 0.05 * source.normal(size=200)
    regression = Regression([np.c_[columns, target][rows] for rows in (slice(0, 90), slice(90, 200))])
    met = supports(regression)
    for size in (1, 2, 3):
        every = [list(one) for one in itertools.combinations(range(7), size)]
        sums = [
            np.square(target - columns[:, one] @ np.linalg.lstsq(columns[:, one], target)[0]).sum() for one in every
        ]
        assert every[int(np.argmin(sums))] in met
        assert regression.left(every[0]) == pytest.approx(sums[0])
    assert [0, 3, 5] in met
