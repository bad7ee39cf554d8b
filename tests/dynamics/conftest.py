"""Springs with 2 % noise, for the tests of equations and of their figures."""

from __future__ import annotations

import pytest

from alphazero.dynamics.equations import Recovered, recover
from alphazero.dynamics.ude import Learned, Observed
from tests.dynamics.springs import LIBRARY, SPRING, generator, learned, springs


@pytest.fixture(scope="module")
def noisy() -> tuple[Observed, Observed, Learned]:
    observed = springs(0.02, 1)
    return observed, springs(0.02, 2), learned(observed, 0.02)


@pytest.fixture(scope="module")
def found(noisy: tuple[Observed, Observed, Learned]) -> Recovered:
    observed, held_out, network = noisy
    return recover(SPRING, LIBRARY, network, observed, held_out, generator=generator())
