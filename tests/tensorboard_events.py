"""What a run wrote for TensorBoard, read back."""

from __future__ import annotations

from pathlib import Path

from tensorboard.backend.event_processing import plugin_event_accumulator
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util


def events(folder: Path) -> EventAccumulator:
    """The events in the folder."""
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return accumulator


def scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    """The steps and values of a scalar, as TensorBoard's own pages read them."""
    accumulator = plugin_event_accumulator.EventAccumulator(str(folder), tensor_size_guidance={"scalars": 0})
    accumulator.Reload()
    return [(e.step, tensor_util.make_ndarray(e.tensor_proto).item()) for e in accumulator.Tensors(tag)]
