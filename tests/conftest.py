"""For all tests: one thread in torch, so that rounding does not hang on the machine; no deadlines in Hypothesis.

`make test` runs them in several processes: each file in one of them, and all files over Ray in the same one.
"""

from __future__ import annotations

import os
import signal

import pytest
import torch
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests.commands import command  # noqa: F401  (a fixture)
from tests.training_runs import Train, call_train

torch.set_num_threads(1)
# Kernels compile and networks are exported within the first example of a test.
settings.register_profile("alphazero", deadline=None)
settings.load_profile("alphazero")
# Else Ray's workers would wait for the tests that run beside theirs.
os.environ.update(RAY_worker_niceness="0")
# What a shell runs in the background ignores Ctrl-C, and so does all that it starts: tests of it would wait in vain.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def together(nodeid: str) -> str:
    """What of the tests one process does in one go: a file, or all files over Ray."""
    file = nodeid.partition("::")[0]
    return "cluster" if "parallel" in file else file


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, or at the end one process would be at them while the others have nothing to do."""
    longest = ("cluster", "tests/trainer/test_synchronous.py")
    items.sort(key=lambda item: longest.index(part) if (part := together(item.nodeid)) in longest else len(longest))


class ByFile(LoadScopeScheduling):
    """Hands out whole files. (The marks for groups that xdist 3.8 has are lost on pytest 9.2, without a word.)"""

    def _split_scope(self, nodeid: str) -> str:
        return together(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile:
    return ByFile(config, log)


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Train:
    """scripts/train.py, called within this process."""
    return call_train(monkeypatch, capsys)
