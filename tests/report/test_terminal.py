"""Numbers, lines and bars as the terminal shows them."""

from __future__ import annotations

import math

from alphazero.report.terminal import pace


def test_times_are_shown_short() -> None:
    assert [pace(seconds) for seconds in (math.nan, 0.00002, 0.00234, 0.05678, 2.5)] == [
        "–", "<0.1", "2.3", "57", "2500",
    ]  # fmt: skip
