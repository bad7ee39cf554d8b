"""Observed trajectories: made from exact ones by adding noise, written to CSV files and read from them."""

from __future__ import annotations

import csv
import io
from itertools import groupby
from pathlib import Path

import torch
from torch import Tensor

from alphazero.dynamics.equations import Case
from alphazero.dynamics.ude import DiscoveryError, Observed, check_observed
from alphazero.game.messages import printable, shortened, unquoted

LONGEST = 1 << 26  # characters of a file
LARGEST = 1e12  # number in it: its square and the products in the equations stay numbers


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
    """Reads a file like those of `write_trajectories`. DiscoveryError, which names the file, if it is none.

    noise: what it is believed to have, as in `observe`.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            text = file.read(LONGEST + 1)
        if len(text) > LONGEST:
            raise DiscoveryError(f"longer than {LONGEST:,} characters")
        observed = _observed(text, case, noise)
        check_observed(observed)
    except (DiscoveryError, UnicodeDecodeError, csv.Error) as error:
        raise DiscoveryError(f"{path}: {error}") from error
    return observed


def _observed(text: str, case: Case, noise: float) -> Observed:
    header, *rows = list(csv.reader(io.StringIO(text, newline=""))) or [[]]
    expected = ["trajectory", "time", *case.states, *case.given]
    if header != expected:
        raise DiscoveryError(f"the columns must be {'; '.join(expected)}, not {unquoted('; '.join(header))}")
    numbers = []
    for line, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise DiscoveryError(f"line {line}: {len(row)} columns, not {len(header)}")
        try:
            numbers.append([float(value) for value in row])
        except ValueError as error:
            raise DiscoveryError(f"line {line}: {shortened(str(error), 80)}") from error
    groups = [torch.tensor(list(rows), dtype=torch.float64) for _, rows in groupby(numbers, key=lambda row: row[0])]
    lengths = {len(group) for group in groups}
    if len(lengths) != 1:
        raise DiscoveryError(f"all trajectories must have the same number of moments, not {printable(sorted(lengths))}")
    table = torch.stack(groups)
    if too_large := (table.abs() > LARGEST).nonzero().tolist():
        trajectory, moment, column = too_large[0]
        raise DiscoveryError(f"{expected[column]} of moment {moment} of trajectory {trajectory} is beyond {LARGEST:g}")
    _, times, states, given = table.split([1, 1, len(case.states), len(case.given)], 2)
    if (changing := (given != given[:, :1]).any(2).any(1).nonzero().flatten().tolist()) and not given.isnan().any():
        names = ", ".join(case.given)
        raise DiscoveryError(f"{names} must be the same in all moments of trajectory {changing[0]}")
    return Observed(times[..., 0], states, given[:, 0], _deviation(states, noise))
