"""The old name of `alphazero.game.conformance`, for one version."""

from alphazero.game.conformance import ConformanceError as ConformanceError
from alphazero.game.conformance import check_game as check_game
