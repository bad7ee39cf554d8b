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


HEADER = "trajectory,time,x,v\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (HEADER.encode() + b"0,0,1,1\n0,1,nan,1\n", r"states\[0, 1, 0\] is nan, no finite number"),
        (HEADER.encode() + b"0,0,1,1\n0,0,1,1\n", "the times of trajectory 0 do not grow"),
        (HEADER.encode() + b"0,0,1,1\n", "too little data"),
        (HEADER.encode() + b"0,0,1,1e300\n0,1,1,1\n", "v of moment 0 of trajectory 0 is beyond"),
        (HEADER.encode() + b"0,0,1," + b"x" * 5000 + b"\n", "line 2: could not convert string to float"),
        (HEADER.encode() + b"0,0,1\n", "line 2: 3 columns, not 4"),
        (b"\xff\xfe\0", "can't decode byte"),
        (HEADER.encode() + b'"' + b"1" * 200_000, "field larger than field limit"),
        (b"", "the columns must be"),
        (b"x" * 100_000 + b"\n", "the columns must be"),
    ],
)
def test_every_message_names_the_file_and_is_short(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "observed.csv"
    path.write_bytes(content)
    with pytest.raises(DiscoveryError, match=f"{path}: .*{said}") as caught:
        read_trajectories(path, CASE, 0.02)
    assert len(str(caught.value)) < 400


def test_what_is_given_is_the_same_in_all_moments(tmp_path: Path) -> None:
    path = tmp_path / "observed.csv"
    path.write_text("trajectory,time,x,v,mass\n0,0,1,1,5\n0,1,1,1,6\n")
    with pytest.raises(DiscoveryError, match="mass must be the same in all moments of trajectory 0"):
        read_trajectories(path, CASE._replace(given=("mass",)), 0.02)
