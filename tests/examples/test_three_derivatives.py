"""examples/three_derivatives.py: the first derivative leads to the target."""

from __future__ import annotations

import math

from matplotlib.figure import Figure

from examples import three_derivatives


def test_the_first_of_three_derivatives_leads_to_the_target() -> None:
    axes = Figure().subplots()
    said = three_derivatives.by_the_controls(axes)
    # The talk's ten steps, in the accurate simulator: most of the way from 55 degrees and 220 lb.
    assert 98 < float(said.split(": ")[1].split(" m")[0]) < 100
    assert len(axes.lines) == len(three_derivatives.SHOWN) + 1
    assert math.isclose(axes.lines[-1].get_xdata()[0], 100)
