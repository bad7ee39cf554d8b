"""Observations are written and read again, and have as much noise as they say."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from alphazero.dynamics.trajectories import observe, read_trajectories, write_trajectories
from alphazero.dynamics.ude import DiscoveryError
from tests.dynamics.springs import CASE, generator, springs


def test_noise_is_a_part_of_the_root_mean_square() -> None:
    exact = springs(0.0, 1, count=20, moments=50)
    observed = observe(exact.times, exact.states, exact.given, 0.05, generator())
    torch.testing.assert_close(observed.noise[3, 7], 0.05 * exact.states.square().mean((0, 1)).sqrt())
    error = (observed.states - exact.states) / observed.noise
    assert error.square().mean().sqrt().item() == pytest.approx(1, abs=4 / math.sqrt(2 * error.numel()))


@pytest.mark.parametrize("noise", [-0.1, 1.0, math.nan])
def test_noise_that_is_no_part_is_refused(noise: float) -> None:
    exact = springs(0.0, 1)
    with pytest.raises(DiscoveryError, match="noise must be a part of the states, from 0 to below 1"):
        observe(exact.times, exact.states, exact.given, noise, generator())


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    case = CASE._replace(given=("stiffness", "mass"))
    given = torch.rand(5, 2, generator=generator(), dtype=torch.float64)
    written = springs(0.02, 1)._replace(given=given)
    write_trajectories(tmp_path / "observed.csv", case, written)
    read = read_trajectories(tmp_path / "observed.csv", case, 0.02)
    for name in ("times", "states", "given"):
        assert torch.equal(getattr(read, name), getattr(written, name))
    torch.testing.assert_close(read.noise, written.noise, rtol=0.05, atol=0)


def test_a_file_with_other_columns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "observed.csv").write_text("trajectory,time,x\n")
    with pytest.raises(DiscoveryError, match="the columns must be trajectory; time; x; v, not trajectory; time; x"):
        read_trajectories(tmp_path / "observed.csv", CASE, 0.02)
