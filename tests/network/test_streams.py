"""Streams of their own: nothing on a CPU; on a GPU another stream, that is used again, and whose work is done after."""

from __future__ import annotations

import pytest
import torch

from alphazero.network.streams import own_stream


def test_on_the_cpu_it_is_a_plain_context() -> None:
    with own_stream("cpu"):
        pass
    with pytest.raises(ZeroDivisionError), own_stream("cpu"):
        raise ZeroDivisionError


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_work_is_ordered_with_the_stream_outside() -> None:
    with own_stream("cuda"), own_stream("cuda"):
        pass  # two are idle from here on
    outside, seen = torch.cuda.current_stream(), []
    for _ in range(3):
        matrix = torch.ones(4096, 4096, device="cuda")
        for _ in range(20):
            matrix = matrix @ matrix / 4096  # takes a while
        with own_stream("cuda"):
            seen.append(torch.cuda.current_stream())
            doubled = 2 * matrix
        assert seen[-1].query(), "its work is not done"
        assert torch.cuda.current_stream() == outside
        assert float(doubled.sum()) == 2 * 4096**2
    assert outside not in seen
    assert len(set(seen)) == 1
    with own_stream("cuda"):
        first = torch.cuda.current_stream()
        with own_stream("cuda"):
            assert torch.cuda.current_stream() != first
