"""Games that break where a test wants them to. Workers and ranks import this module."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import torch.distributed as dist
from torch import Tensor

from alphazero.game import Transition
from games.tic_tac_toe import TicTacToe, TicTacToeState


class FaultyRanks(TicTacToe):
    """Tic-tac-toe; a rank for which `folder` has a file dies or fails at one of its next observations.

    The rank's number names the file; it holds how many observations are left, and the fault that follows: `die` (once),
    `die always` until `spare`, or `raise`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def tell(self, rank: int, observations: int, what: str) -> None:
        (self.folder / str(rank)).write_text(f"{observations} {what}")

    def spare(self, rank: int) -> None:
        (self.folder / str(rank)).unlink()

    def observe(self, state: TicTacToeState) -> Tensor:
        if dist.is_initialized() and (file := self.folder / str(dist.get_rank())).exists():
            left, what = file.read_text().split(maxsplit=1)
            if int(left) > 0:
                file.write_text(f"{int(left) - 1} {what}")
            else:
                if what != "die always":
                    file.unlink()
                if what == "raise":
                    raise RuntimeError("the board is spoilt")
                os.kill(os.getpid(), signal.SIGKILL)
        return super().observe(state)


class FaultyWorkers(TicTacToe):
    """Tic-tac-toe; fails once there is a mark on a board, in every process but that of the number HEALTHY_PROCESS."""

    def step(self, state: TicTacToeState, action: Tensor) -> Transition:
        if os.environ.get("HEALTHY_PROCESS") != str(os.getpid()) and bool((state.mine | state.theirs).any()):
            raise ArithmeticError("the board is broken")
        return super().step(state, action)
