"""One run, one process: a lock in a run's folder that the system lets go of when its process dies.

The file names who holds it, for messages. The lock is the system's own, on the open file: it also holds between the
machines that share a network disk, if that disk shares locks. Where one does not, the name in the file still tells the
older process, which looks at it before each save, that another one has taken the run over.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple

from alphazero.runs.files import LOCK, RunError, clear_errors

MOST = 1000  # bytes of a holder's name
NAMING = 2.0  # seconds within which a process that holds a run has written its name


class Holder(NamedTuple):
    """A process that trains a run, or copies it.

    since: the time there.
    token: tells it from all others.
    """

    host: str
    pid: int
    since: str
    token: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"

    def to_bytes(self) -> bytes:
        return json.dumps(self._asdict()).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Holder | None:
        """None if it is nobody's name, as after an orderly end. A message can show what it holds."""
        with suppress(ValueError, KeyError, TypeError, RecursionError):
            known = json.loads(content[:MOST])
            words = [known[name] for name in ("host", "since", "token")]
            if type(known["pid"]) is int and all(isinstance(word, str) and word.isprintable() for word in words):
                return cls(**known)
        return None

    @classmethod
    def this(cls) -> Holder:
        """This process, now."""
        now = datetime.now().astimezone().isoformat(" ", "seconds")
        return cls(socket.gethostname(), os.getpid(), now, uuid.uuid4().hex)


class RunLock:
    """The lock of a run's folder, held until `release`."""

    def __init__(self, folder: Path, *, say: Callable[[str], None]) -> None:
        """RunError if another process holds it, or the folder cannot be written.

        say: is told where the system cannot make sure that no other process holds it.
        """
        self.folder, self.holder, self._locked = folder, Holder.this(), True
        with clear_errors(folder), ExitStack() as stack:
            self._file = stack.enter_context(_open(folder / LOCK))
            try:
                self._take()
            except OSError as error:
                self._locked, fault = False, error.strerror
                say(f"the disk of {folder} has no locks ({fault}): make sure that no other process trains the run")
            before = Holder.from_bytes(_read(self._file))
            if before and (before.host != self.holder.host or not self._locked):
                doubt = "it did not end in order, or this disk shares no locks with it: make sure that it runs no more"
                say(f"{folder} was held by {before}; {doubt}")
            _write(self._file, self.holder.to_bytes())
            stack.pop_all()

    def _take(self) -> None:
        """Locks the file. RunError if another process has done so, OSError where there are no locks."""
        deadline = time.monotonic() + NAMING
        while True:
            try:
                return fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                other = Holder.from_bytes(_read(self._file))
                if other or time.monotonic() > deadline:
                    told = f"{self.folder} is held by {other or 'another process'}"
                    raise RunError(f"{told}; a run is one process's: wait for it, or stop it") from None
            time.sleep(0.05)  # it is about to write its name, or to let go

    def check(self) -> None:
        """RunError if another process has taken the run over, which only a disk without shared locks lets happen."""
        with suppress(OSError), (self.folder / LOCK).open("rb") as file:  # what cannot be read, saving will tell
            other = Holder.from_bytes(file.read(MOST))
            if other and other.token != self.holder.token:
                raise RunError(f"{self.folder} has been taken over by {other}; this process stops, and saves no more")

    def release(self) -> None:
        """Lets go, and leaves no name behind; not that of another process."""
        with suppress(OSError, RunError), self._file:
            try:
                self.check()
                _write(self._file, b"")
            finally:
                if self._locked:
                    fcntl.flock(self._file, fcntl.LOCK_UN)


@contextmanager
def run_lock(folder: Path, *, say: Callable[[str], None]) -> Iterator[RunLock]:
    """A context in which no other process trains the run: see `RunLock`."""
    lock = RunLock(folder, say=say)
    try:
        yield lock
    finally:
        lock.release()


def _open(path: Path) -> BinaryIO:
    """The file, made if it is not there. RunError if it is a link or anything else but a file."""
    if path.is_symlink() or (path.exists() and not path.is_file()):  # the run may be a stranger's
        raise RunError(f"{path} is no plain file; remove it")
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644), "r+b", buffering=0)


def _read(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read(MOST)


def _write(file: BinaryIO, content: bytes) -> None:
    file.seek(0)
    file.truncate()
    file.write(content)
    os.fsync(file.fileno())
