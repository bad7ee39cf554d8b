"""The old name of `alphazero.game.conformance`, for one version."""

from alphazero.game.conformance import ConformanceError, check_game

__all__ = ["ConformanceError", "check_game"]
