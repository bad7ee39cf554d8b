"""CUDA streams, so that self-play and learning on one GPU do not wait for each other."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import torch

URGENT = -1  # the priority of streams whose operations go before those of others
_lock = threading.Lock()
# By device and priority, the last used last, which is used again first: memory that is freed stays with its stream.
_idle: defaultdict[tuple[torch.device, int], list[torch.cuda.Stream]] = defaultdict(list)


@contextmanager
def own_stream(device: str | torch.device, priority: int = 0) -> Iterator[None]:
    """A context whose operations on a GPU run in a stream of their own; on other devices it does nothing.

    It begins after what was asked of the GPU in the stream outside, and ends when all its operations are done.
    """
    device = torch.device(device)
    if device.type != "cuda":
        yield
        return
    outside = torch.cuda.current_stream(device)
    with _lock:
        idle = _idle[outside.device, priority]
        stream = idle.pop() if idle else torch.cuda.Stream(device, priority)
    stream.wait_stream(outside)
    try:
        with torch.cuda.stream(stream):
            yield
        stream.synchronize()
    finally:
        with _lock:
            idle.append(stream)
