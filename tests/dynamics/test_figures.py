"""Figures show the recovered equation beside the truth."""

from __future__ import annotations

import numpy as np
import torch

from alphazero.dynamics import figures
from alphazero.dynamics.equations import Recovered
from alphazero.dynamics.lotka_volterra import LONG, extrapolate, lotka_volterra
from alphazero.dynamics.ude import Learned, Observed
from alphazero.report.position_figures import png
from tests.dynamics.springs import CASE


def test_figures_show_what_was_found(noisy: tuple[Observed, Observed, Learned], found: Recovered) -> None:
    _, held_out, network = noisy
    term = figures.term(CASE, held_out, network.term, found.best.equation.term)
    drawn = {line.get_label(): line for line in term.axes[0].lines if not line.get_label().startswith("_")}
    assert set(drawn) == {"truth", "network", "equation"}
    # The lines of the truth and of the equation, point by point.
    apart = np.abs(drawn["truth"].get_ydata() - drawn["equation"].get_ydata()).max()
    assert apart < 0.05
    sparsity = figures.sparsity(found.path, network=found.network)
    sizes, residuals = sparsity.axes[0].lines[0].get_data()
    assert (len(sizes), min(residuals)) == (len(found.path), min(choice.held_out for choice in found.path))
    for figure in (
        term,
        sparsity,
        figures.trajectories(CASE, held_out, network.term, None),
        figures.formula(CASE, found),
    ):
        assert png(figure).startswith(b"\x89PNG")
    text = " ".join(one.get_text() for one in figures.formula(CASE, found).texts)
    assert found.best.equation.formula("f") in text


def test_an_extrapolation_is_drawn_beside_the_truth() -> None:
    case = lotka_volterra()
    start = torch.tensor([[0.5, 4.6]], dtype=torch.float64)
    found = extrapolate(case.truth, start)
    lines = figures.extrapolation(case, found).axes[0].lines
    assert [line.get_label() for line in lines] == ["x, truth", "x, equation", "y, truth", "y, equation"]
    assert lines[0].get_xdata()[-1] == LONG
    assert lines[3].get_ydata()[0] == 4.6
