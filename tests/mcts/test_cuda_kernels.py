"""The kernels for the GPU are held to the tensor operations: compiled for the CPU, and on a GPU where there is one.

CUDA's C++ is C++ but for a few words. With those defined away, a thread is a call of the kernel.
"""

from __future__ import annotations

import contextlib
import ctypes
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from alphazero.game import Game, map_states
from alphazero.mcts import cuda_kernels
from alphazero.mcts import search as search_module
from alphazero.mcts.cuda_kernels import Kernels, source
from alphazero.mcts.evaluator import UniformEvaluator
from alphazero.mcts.search import search
from alphazero.mcts.tree_search import CudaTreeSearch, SearchResult, TreeSearch, tree_search
from alphazero.network.architectures import inference_module
from alphazero.network.inference import TorchEvaluator
from games.connect_four import ConnectFour
from games.tic_tac_toe import TicTacToe
from tests.evaluators import ScrambledEvaluator
from tests.mcts.test_kernels import CONFIGS, assert_the_same, both
from tests.networks import trained
from tests.positions import random_positions
from tests.stubs import Again, Drift, Mine

COMPILER = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
WORDS = """
#include <math.h>
#define __device__
#define __global__
struct Index { int x; };
extern "C" { Index blockIdx, blockDim, threadIdx; }
"""


UNPROVEN = [name for name, config in CONFIGS.items() if not config.solver]  # these kernels prove nothing


@pytest.fixture(scope="module")
def on_cpu(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, torch.device], Kernels]:
    """In place of `cuda_kernels.compiled`."""
    if COMPILER is None:
        pytest.skip("needs a C++ compiler")
    libraries: dict[int, ctypes.CDLL] = {}

    def compiled(width: int, device: torch.device) -> Kernels:
        del device
        if width not in libraries:
            folder = tmp_path_factory.mktemp("kernels")
            (folder / "kernels.cpp").write_text(WORDS + source(width))
            command = [COMPILER, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-Wno-unused-function"]
            subprocess.run([*command, "-o", "kernels.so", "kernels.cpp"], cwd=folder, check=True)
            libraries[width] = ctypes.CDLL(str(folder / "kernels.so"))
        return Kernels(*(host_kernel(libraries[width], name) for name in Kernels._fields))

    return compiled


def host_kernel(library: ctypes.CDLL, name: str) -> Callable[..., None]:
    """Called as torch calls a kernel; runs its threads one after another, one more block than it was asked for."""

    def place(argument: Tensor | int | float) -> Any:
        if isinstance(argument, Tensor):
            assert argument.is_contiguous()
            return ctypes.c_void_p(argument.data_ptr())
        return ctypes.c_int(argument) if isinstance(argument, int) else ctypes.c_double(argument)

    def kernel(grid: tuple[int, int, int], block: tuple[int, int, int], args: list[Any]) -> None:
        numbers = {word: ctypes.c_int.in_dll(library, word) for word in ("blockIdx", "blockDim", "threadIdx")}
        numbers["blockDim"].value = block[0]
        for numbers["blockIdx"].value in range(grid[0] + 1):
            for numbers["threadIdx"].value in range(block[0]):
                getattr(library, name)(*map(place, args))

    return kernel


@pytest.fixture
def kernels_on_cpu(on_cpu: Callable[[int, torch.device], Kernels], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Makes `search` run CUDA's kernels on the CPU; holds the widths of the trees that it searched with them."""
    widths: list[int] = []

    def compiled(width: int, device: torch.device) -> Kernels:
        widths.append(width)
        return on_cpu(width, device)

    monkeypatch.setattr(cuda_kernels, "compiled", compiled)
    monkeypatch.setattr(search_module, "tree_search", lambda *how, **_: TreeSearch if False in how else CudaTreeSearch)
    return widths


@pytest.mark.parametrize("name", UNPROVEN)
@pytest.mark.parametrize("game", [ConnectFour(), TicTacToe()], ids=lambda game: game.name)
def test_kernels_and_tensors_search_the_same_trees(game: Game, name: str, kernels_on_cpu: list[int]) -> None:
    roots = random_positions(game, 60, plies=29 if game.name == "connect_four" else 8, seed=0)
    assert_the_same(*both(game, ScrambledEvaluator(game), roots, CONFIGS[name]))
    assert set(kernels_on_cpu) == {7 if game.name == "connect_four" else 9}


@pytest.mark.parametrize("algorithm", ["gumbel", "puct"])
@pytest.mark.parametrize("game", [Again(), Mine(), Drift()], ids=lambda game: game.name)
def test_they_agree_on_consecutive_moves_discounts_and_sampled_actions(
    game: Game, algorithm: str, kernels_on_cpu: list[int]
) -> None:
    config = replace(CONFIGS[algorithm], simulations=40)
    roots = game.initial(5, generator=torch.Generator().manual_seed(0))
    assert_the_same(*both(game, UniformEvaluator(game, samples=6), roots, config))
    assert kernels_on_cpu


def test_without_a_gpu_there_are_no_kernels_and_a_warning_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(source: str, name: str) -> None:
        raise RuntimeError(f"no compiler\nfor {name}")

    monkeypatch.setattr(torch.cuda, "_compile_kernel", broken, raising=False)
    monkeypatch.setattr(torch.cuda, "device", contextlib.nullcontext)
    cuda_kernels.compiled.cache_clear()
    with pytest.warns(RuntimeWarning, match=r"cannot be compiled \(no compiler for select_edges\).*CUDA_HOME"):
        assert tree_search(ConnectFour(), torch.device("cuda"), None, 7) is TreeSearch
    cuda_kernels.compiled.cache_clear()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", UNPROVEN)
def test_on_a_gpu_they_agree_as_well(name: str) -> None:
    """But for a few trees: sums are rounded differently, so one of two moves that are about equal may come first."""
    game, config, batch = ConnectFour(), replace(CONFIGS[name], dirichlet_fraction=0.0), 500
    roots = map_states(Tensor.cuda, random_positions(game, batch, plies=29, seed=0))
    evaluator = TorchEvaluator(game, inference_module(trained("dense", 1)), device="cuda", dtype=torch.float32)
    noise = torch.randn(batch, 7, generator=torch.Generator("cuda").manual_seed(1), device="cuda")
    assert tree_search(game, noise.device, None, 7) is CudaTreeSearch
    assert tree_search(game, noise.device, None, 7, solver=True) is TreeSearch
    assert tree_search(game, noise.device, None, 7, goes_on=True) is TreeSearch
    compiled, tensors = (
        search(
            evaluator, game, roots, config, torch.Generator("cuda"), gumbel_noise=noise, compiled=c, recorded=False
        )
        for c in (True, False)
    )  # fmt: skip
    same = (compiled.visits == tensors.visits).all(1)
    assert same.sum() >= 0.98 * batch
    assert_the_same(*(SearchResult(*(f if f is None else f[same] for f in r)) for r in (compiled, tensors)))
