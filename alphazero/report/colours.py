"""The colours of all figures, apart from what draws them: matplotlib takes its time to load."""

from __future__ import annotations

BLUE, AMBER, GREEN, PLUM, RED, GREY = "#2f6690", "#d98324", "#4c8c5e", "#80487a", "#b8433c", "#8a9299"
INK, FAINT, BOARD = "#2b3036", "#e3e7ea", "#d5dde3"
