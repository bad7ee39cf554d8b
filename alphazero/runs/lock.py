"""One run, one process: a lock in a run's folder that the system lets go of when its process dies.

The file names who holds it, for messages. The lock is the system's own, on the open file: it also holds between the
machines that share a network disk, if that disk shares locks. Where one does not, the name in the file still tells the
older process, which looks at it before each save, that another one has taken the run over.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple

from alphazero.runs.files import LOCK, RunError, clear_errors

MOST = 1000  # bytes of a holder's name

if sys.platform == "win32":
    import msvcrt

    FAR = 1 << 30  # Windows lets nobody else read what is locked: a byte that nobody reads

    def _lock(file: BinaryIO) -> None:
        """BlockingIOError if another process holds it; another OSError where there are no locks."""
        file.seek(FAR)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError(*error.args) from error

    def _unlock(file: BinaryIO) -> None:
        file.seek(FAR)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(file: BinaryIO) -> None:
        """BlockingIOError if another process holds it; another OSError where there are no locks."""
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(file: BinaryIO) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)


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
                _lock(self._file)
            except BlockingIOError:
                other = Holder.from_bytes(_read(self._file)) or "another process"
                told = f"{folder} is held by {other}; a run is one process's: wait for it, or stop it"
                raise RunError(told) from None
            except OSError as error:
                self._locked, fault = False, error.strerror
                say(f"the disk of {folder} has no locks ({fault}): make sure that no other process trains the run")
            before = Holder.from_bytes(_read(self._file))
            if before and (before.host != self.holder.host or not self._locked):
                doubt = "it did not end in order, or this disk shares no locks with it: make sure that it runs no more"
                say(f"{folder} was held by {before}; {doubt}")
            _write(self._file, self.holder.to_bytes())
            stack.pop_all()

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
                    _unlock(self._file)


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
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644), "r+b")


def _read(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read(MOST)


def _write(file: BinaryIO, content: bytes) -> None:
    file.seek(0)
    file.truncate()
    file.write(content)
    file.flush()
    os.fsync(file.fileno())
