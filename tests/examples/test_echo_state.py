"""examples/echo_state.py solves Robertson's reaction, and its surrogate does the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from examples import echo_state
from tests.commands import Command


def test_robertsons_reaction_is_known_and_echoed(command: Command, tmp_path: Path) -> None:
    """The concentrations at 0.4, 40 and 4e3 as Hindmarsh's LSODE prints them."""
    times = np.array([0.4, 40.0, 4e3])
    known = [
        [9.851712e-01, 7.158e-01, 1.832e-01],
        [3.386380e-05, 9.1850e-06, 8.942e-07],
        [1.479493e-02, 2.8418e-01, 8.168e-01],
    ]
    np.testing.assert_allclose(echo_state.solve(echo_state.RATES)(times), known, rtol=4e-4)
    told = command(echo_state.main, "--reservoir", "80", "--samples", "16", "--tests", "4", "--out", tmp_path)
    assert told.returncode == 0, told.stderr
    worst = np.array(json.loads((tmp_path / "results.json").read_text())["worst"])
    assert worst.shape == (3, 3)
    assert worst.max() < 0.01
    told = command(echo_state.main, "--samples", "2", "--out", tmp_path)
    assert (told.returncode, "--samples from 8" in told.stderr) == (2, True)
