"""Storage calls that fail, stop or wait for their turn, one at a time.

A call goes through a hook, which is given its name and what does it. `Calls` is a hook that has a
fault at one call, before or after its effect; `Turns` is one that lets two threads go by turns, in
each order of their calls.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fedenclave.keys.errors import CannotUnwrap
from fedenclave.keys.provider import WrappedKey

Hook = Callable[[str, Callable[[], Any]], Any]

SYSTEM_CALLS = ("fsync", "link", "mkdir", "open", "replace", "rmdir", "unlink", "write")
"""Of the module os: what a folder's dataset is written with."""
OBJECT_CALLS = ("cat_file", "close", "info", "ls", "open", "pipe_file", "rm_file", "write")
"""Of a file system of fsspec and its files: what a dataset in an object storage is."""


class SteadyKeys:
    """Keys that need no file, so that the dataset's calls are the only ones. One key, `node`."""

    kind = "keyring"
    place = "memory"

    def __init__(self) -> None:
        self.newest = 1

    def wrap(self, data_key: bytes, key: str, *, subject: str, context: str) -> WrappedKey:
        nonce = os.urandom(12)
        sealed = AESGCM(bytes([self.newest]) * 32).encrypt(nonce, data_key, context.encode())
        return WrappedKey(provider=self.kind, key=key, version=self.newest, wrapped=nonce + sealed)

    def unwrap(self, wrapped: WrappedKey, *, subject: str, context: str) -> bytes:
        cipher = AESGCM(bytes([wrapped.version]) * 32)
        try:
            return cipher.decrypt(wrapped.wrapped[:12], wrapped.wrapped[12:], context.encode())
        except InvalidTag as error:
            raise CannotUnwrap("not wrapped here") from error


@dataclass(frozen=True)
class Fault:
    """What happens at a call: an exception, or the end of the process."""

    name: str
    make: Callable[[], BaseException] | None
    lasts: bool = False
    """Whether it hits every later call, too: the storage is gone."""

    def strike(self) -> None:
        if self.make is not None:
            raise self.make()
        os.kill(os.getpid(), signal.SIGKILL)


INTERRUPT = Fault("interrupt", KeyboardInterrupt)


@dataclass
class Calls:
    """Calls by name, in their order, and the one at which there is a fault."""

    at: int = -1
    after: bool = False
    fault: Fault | None = None
    names: list[str] = field(default_factory=list)

    def __call__(self, name: str, really: Callable[[], Any]) -> Any:
        number = len(self.names)
        self.names.append(name)
        here = self.fault is not None and number == self.at
        later = self.fault is not None and self.fault.lasts and number > self.at
        if self.fault is not None and (later or (here and not self.after)):
            self.fault.strike()
        result = really()
        if self.fault is not None and here:
            self.fault.strike()
        return result


@contextmanager
def hooked_os(hook: Hook) -> Iterator[None]:
    """Let this process' system calls that write go through `hook`."""
    before = {name: getattr(os, name) for name in SYSTEM_CALLS}
    for name, really in before.items():
        setattr(os, name, partial(_through, hook, name, really))
    try:
        yield
    finally:
        for name, really in before.items():
            setattr(os, name, really)


def _through(hook: Hook, name: str, really: Callable[..., Any], *args: Any, **options: Any) -> Any:
    return hook(name, partial(really, *args, **options))


class Hooked:
    """An object whose named methods go through `hook`, and so do those of what `open` returns."""

    def __init__(self, target: Any, hook: Hook, names: Sequence[str]) -> None:
        self._target, self._hook, self._names = target, hook, names

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        if name not in self._names:
            return value
        if name == "open":
            return lambda *args, **options: Hooked(
                self._hook(name, partial(value, *args, **options)), self._hook, self._names
            )
        return partial(_through, self._hook, name, value)


class Turns:
    """Lets threads run one at a time, each up to its next call, in a given order."""

    def __init__(self, order: Sequence[int]) -> None:
        """Take who comes first, second ...; then whoever went last goes on, while it can."""
        self._order, self._changed = order, threading.Condition()
        self._waiting: set[int] = set()
        self._done: set[int] = set()
        self._goes: int | None = None
        self.taken: list[tuple[int, bool]] = []
        """Who went, and whether the other could have gone."""

    def hook(self, who: int) -> Hook:
        def call(_: str, really: Callable[[], Any]) -> Any:
            self._wait(who)
            return really()

        return call

    def run(self, works: Sequence[Callable[[], None]]) -> None:
        threads = [
            threading.Thread(target=self._work, args=(who, work)) for who, work in enumerate(works)
        ]
        for thread in threads:
            thread.start()
        last = 0
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: len(self._waiting | self._done) == len(works), timeout=60
                )
                if len(self._done) == len(works):
                    break
                turn = len(self.taken)
                wanted = self._order[turn] if turn < len(self._order) else last
                last = wanted if wanted in self._waiting else next(iter(self._waiting))
                self.taken.append((last, len(self._waiting) == 2))
                self._waiting.discard(last)
                self._goes = last
                self._changed.notify_all()
        for thread in threads:
            thread.join()

    def _work(self, who: int, work: Callable[[], None]) -> None:
        self._wait(who)
        try:
            work()
        finally:
            with self._changed:
                self._done.add(who)
                self._changed.notify_all()

    def _wait(self, who: int) -> None:
        with self._changed:
            self._waiting.add(who)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._goes == who, timeout=60)
            self._goes = None


def orders(run: Callable[[Sequence[int]], Turns], switches: int | None = None) -> int:
    """Run every order of two threads' calls, or those with so many switches; return how many."""
    todo: list[list[int]] = [[]]
    count = 0
    while todo:
        order = todo.pop()
        taken = run(order).taken
        count += 1
        went = [who for who, _ in taken]
        for turn in range(len(order), len(taken)):
            other = [*went[:turn], 1 - went[turn]]
            changes = sum(a != b for a, b in pairwise(other))
            if taken[turn][1] and (switches is None or changes <= switches):
                todo.append(other)
    return count
