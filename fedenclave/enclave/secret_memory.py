"""Memory that the kernel itself has unmapped: `memfd_secret` pages for keys and plaintext.

What it stops: /proc/PID/mem, process_vm_readv, ptrace peeks, core files, hibernation and swap, also
by root. What it does not: a debugger that makes this process copy its own secret, the kernel.

Pitfall: while any descriptor of the area is open another root process can take it with
`pidfd_getfd`, and Python's `mmap` object keeps one. So the area is mapped with ctypes and the
descriptor closed at once.

Source: memfd_secret(2).
"""

from __future__ import annotations

import ctypes
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SYS_MEMFD_SECRET = 447
_PROT_READ_WRITE = 0x1 | 0x2
_MAP_SHARED = 0x01
_MAP_FAILED = ctypes.c_void_p(-1).value
_PAGE = os.sysconf("SC_PAGE_SIZE")

Bytes = NDArray[np.uint8]


class SecretMemory:
    """Hands out page-aligned areas that live as long as the process."""

    def __init__(self) -> None:
        """Nothing is allocated yet; `held` turns false with the first area that is ordinary."""
        self._libc: Any = ctypes.CDLL(None, use_errno=True)
        self._libc.mmap.restype = ctypes.c_void_p
        self._libc.mmap.argtypes = [
            ctypes.c_void_p,
            ctypes.c_size_t,
            ctypes.c_int,
            ctypes.c_int,
            ctypes.c_int,
            ctypes.c_long,
        ]
        self.held = True

    def allocate(self, size: int) -> Bytes:
        """Return `size` zero bytes on secret pages, or on ordinary ones where that is refused."""
        rounded = -(-size // _PAGE) * _PAGE
        address = self._map(rounded)
        if address is None:
            self.held = False
            return np.zeros(size, np.uint8)
        area = (ctypes.c_ubyte * rounded).from_address(address)
        array = np.frombuffer(area, np.uint8)
        array[:] = 0  # touch every page now: the first touch is slow, and may fail only here
        return array[:size]

    def _map(self, size: int) -> int | None:
        descriptor = self._libc.syscall(_SYS_MEMFD_SECRET, 0)
        if descriptor < 0:
            return None
        try:
            os.ftruncate(descriptor, size)
            address = self._libc.mmap(None, size, _PROT_READ_WRITE, _MAP_SHARED, descriptor, 0)
        except OSError:
            return None
        finally:
            os.close(descriptor)
        # RLIMIT_MEMLOCK bounds secret pages; beyond it mmap fails.
        return None if address in (None, _MAP_FAILED) else address


class KeySlots:
    """32-byte keys in secret memory, by slot number."""

    SIZE = 32

    def __init__(self, memory: SecretMemory, slots: int) -> None:
        """Reserve room for `slots` keys."""
        self._area = memory.allocate(slots * self.SIZE)

    def put(self, slot: int, key: bytes) -> None:
        """Copy `key` in. The caller's bytes object stays in ordinary memory until it is freed."""
        self._area[slot * self.SIZE : (slot + 1) * self.SIZE] = np.frombuffer(key, np.uint8)

    def get(self, slot: int) -> memoryview:
        """Return a view of the key: no copy leaves the secret pages."""
        return memoryview(self._area[slot * self.SIZE : (slot + 1) * self.SIZE])

    def wipe(self) -> None:
        """Overwrite every key."""
        self._area[:] = 0
