"""For all tests: one thread in torch, so that rounding does not hang on the machine; no deadlines in Hypothesis."""

from __future__ import annotations

import torch
from hypothesis import settings

torch.set_num_threads(1)
# Kernels compile and networks are exported within the first example of a test.
settings.register_profile("alphazero", deadline=None)
settings.load_profile("alphazero")
