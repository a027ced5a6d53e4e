"""One writer per run directory; the lock of a killed writer is released."""

import contextlib
import errno
import fcntl
import json
import os
import socket
import time
import weakref
from pathlib import Path

from ontogeny.core.errors import StoreError
from ontogeny.store import durable


class HeldError(StoreError):
    """Another process, or another writer in this one, holds the lock."""


class RunLock:
    """An advisory lock on a file, held by one open file and released by the kernel when its process ends.

    Raises HeldError naming process and host of the holder if another process, or another writer in this one, has it;
    StoreError if the file is a symbolic link, since what that points to would be overwritten.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise StoreError(f"{path} is a symbolic link, which is not followed: remove it") from None
            raise durable.failure(path, error) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._descriptor, 4096, 0)
            os.close(self._descriptor)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise StoreError(f"{path} cannot be locked on this file system: {error.strerror}") from error
            raise HeldError(f"{path.parent} is being written by {_describe(holder)}: wait or stop it") from None
        _held.add(self)
        self._sign(path)

    def _sign(self, path: Path) -> None:
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "since_unix_s": round(time.time(), 3)}
        try:
            os.ftruncate(self._descriptor, 0)
            durable.write_all(self._descriptor, memoryview(json.dumps(holder).encode()))
        except OSError as error:
            self.release()
            raise durable.failure(path, error) from error

    def release(self) -> None:
        """Release the lock. Does nothing the second time."""
        if self._descriptor >= 0:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            self.abandon()

    def abandon(self) -> None:
        """Close this process's copy of the open file without unlocking it for the process that it was forked from."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


_held: "weakref.WeakSet[RunLock]" = weakref.WeakSet()


def _describe(holder: bytes) -> str:
    with contextlib.suppress(ValueError, KeyError, TypeError):
        signature = json.loads(holder)
        return f"process {signature['pid']} on {signature['host']}"
    return "another process"


def holder_is_gone(path: Path) -> bool:
    """Was this lock signed by a process of this machine that has ended? False if that cannot be known.

    Only reads the signature: trying to take the lock would block a writer that starts at the same moment.
    """
    try:
        signature = json.loads(b"{}" if path.is_symlink() else path.read_bytes())
        if signature["host"] != socket.gethostname():
            return False
        os.kill(int(signature["pid"]), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return False


def _abandon_all() -> None:
    for lock in list(_held):
        lock.abandon()


# A forked child (a data loader's worker) shares the open file, and would keep the lock after its parent was killed.
os.register_at_fork(after_in_child=_abandon_all)
