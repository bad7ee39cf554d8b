"""Observed trajectories: made from exact ones by adding noise, written to CSV files and read from them."""

from __future__ import annotations

import csv
from itertools import groupby
from pathlib import Path

import torch
from torch import Tensor

from alphazero.dynamics.equations import Case
from alphazero.dynamics.ude import DiscoveryError, Observed, check_observed


def observe(times: Tensor, exact: Tensor, given: Tensor, noise: float, generator: torch.Generator) -> Observed:
    """Exact states [B, T, N] with errors; noise: their deviation, as a part of each coordinate's root mean square."""
    deviation = _deviation(exact, noise)
    error = torch.randn(exact.shape, generator=generator, dtype=torch.float64)
    return Observed(times, exact + deviation * error, given, deviation)


def _deviation(states: Tensor, noise: float) -> Tensor:
    if not 0 <= noise < 1:
        raise DiscoveryError(f"noise must be a part of the states, from 0 to below 1, not {noise}")
    return (noise * states.square().mean((0, 1)).sqrt()).expand_as(states)


def write_trajectories(path: Path, case: Case, observed: Observed) -> None:
    """Writes a row for each moment. The last columns, `given`, are the same in all rows of a trajectory."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["trajectory", "time", *case.states, *case.given])
        fields = (observed.times.tolist(), observed.states.tolist(), observed.given.tolist())
        for number, (times, states, given) in enumerate(zip(*fields, strict=True)):
            rows.writerows([number, time, *state, *given] for time, state in zip(times, states, strict=True))


def read_trajectories(path: Path, case: Case, noise: float) -> Observed:
    """Reads a file like those of `write_trajectories`. DiscoveryError if it is none.

    noise: what it is believed to have, as in `observe`.
    """
    with path.open(newline="") as file:
        header, *rows = list(csv.reader(file)) or [[]]
    expected = ["trajectory", "time", *case.states, *case.given]
    if header != expected:
        raise DiscoveryError(f"{path}: the columns must be {'; '.join(expected)}, not {'; '.join(header)}")
    numbers = []
    for line, row in enumerate(rows, 2):
        try:
            numbers.append([float(value) for value in row])
        except ValueError as error:
            raise DiscoveryError(f"{path}, line {line}: {error}") from error
        if len(row) != len(header):
            raise DiscoveryError(f"{path}, line {line}: {len(row)} columns, not {len(header)}")
    groups = [torch.tensor(list(rows), dtype=torch.float64) for _, rows in groupby(numbers, key=lambda row: row[0])]
    lengths = {len(group) for group in groups}
    if len(lengths) != 1:
        raise DiscoveryError(f"{path}: all trajectories must have the same number of moments, not {sorted(lengths)}")
    _, times, states, given = torch.stack(groups).split([1, 1, len(case.states), len(case.given)], 2)
    observed = Observed(times[..., 0], states, given[:, 0], _deviation(states, noise))
    check_observed(observed)
    return observed
