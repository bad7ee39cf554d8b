"""CUDA streams, so that self-play and learning on one GPU do not wait for each other."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_lock = threading.Lock()
_idle: list[torch.cuda.Stream] = []  # few, each used again and again: memory that is freed stays with its stream


@contextmanager
def own_stream(device: str | torch.device) -> Iterator[None]:
    """A context whose operations on a GPU run in a stream of their own; on other devices it does nothing.

    It begins after what was asked of the GPU in the stream outside, and ends when all its operations are done.
    """
    device = torch.device(device)
    if device.type != "cuda":
        yield
        return
    outside = torch.cuda.current_stream(device)
    with _lock:
        place = next((i for i, stream in enumerate(_idle) if stream.device == outside.device), None)
        stream = torch.cuda.Stream(device) if place is None else _idle.pop(place)
    stream.wait_stream(outside)
    try:
        with torch.cuda.stream(stream):
            yield
        stream.synchronize()
    finally:
        with _lock:
            _idle.append(stream)
