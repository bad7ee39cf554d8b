"""`kernels.cu`, compiled for the GPU while the program runs, for trees of so many actions."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch

THREADS = 32  # of a block: few, so that small batches spread over the GPU
SOURCE = Path(__file__).with_name("kernels.cu")

Kernel = Callable[..., None]  # called with grid, block and args, a list of tensors and numbers


class Kernels(NamedTuple):
    """The functions of `kernels.cu`."""

    select_edges: Kernel
    expand_and_backup: Kernel


def source(width: int) -> str:
    """The source for trees of `width` actions."""
    return f'extern "C" {{\n#define WIDTH {width}\n{SOURCE.read_text()}}}\n'


@lru_cache(maxsize=64)
def compiled(width: int, device: torch.device) -> Kernels | None:
    """The kernels for trees of `width` actions; None, with a warning, where they cannot be compiled."""
    try:
        with torch.cuda.device(device):
            # Torch's way to NVRTC, which it brings along, is not public yet.
            return Kernels(*(torch.cuda._compile_kernel(source(width), name) for name in Kernels._fields))
    except (AttributeError, ImportError, OSError, RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())
        warnings.warn(
            f"the search's kernels cannot be compiled ({reason}), so trees are searched in torch's operations, which "
            "takes longer; they need an NVIDIA GPU and the CUDA toolkit (CUDA_HOME)",
            RuntimeWarning,
            stacklevel=2,
        )
        return None


def launch(kernel: Kernel, batch: int, arguments: list[Any]) -> None:
    """Runs the kernel with a thread for each of the batch's trees."""
    kernel(grid=(-(-batch // THREADS), 1, 1), block=(THREADS, 1, 1), args=arguments)
