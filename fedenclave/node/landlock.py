"""What an app's process may write and whom it may connect to, held by the kernel: Landlock.

Rules:
  * A process restricts itself, for good, and everything that it starts later.
  * Reading and running programs stay as they are: an app reads its data where its user can.
  * Writing is for the folders and files that are named, and for devices. TCP is for the ports that
    are named, and no port is bound.
  * A kernel that knows less holds less; one that knows nothing of it, nothing. `level` says.

Not held: UDP, and so name lookups; sockets of this machine that have a path.

Source: Linux, Documentation/userspace-api/landlock.rst and include/uapi/linux/landlock.h.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

from fedenclave.protocol.errors import ConfigurationError

# The same on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG = 1
_PATH_BENEATH, _NET_PORT = 1, 2

_WRITE_FILE = 1 << 1
_REMOVE_DIR, _REMOVE_FILE = 1 << 4, 1 << 5
_MAKE_CHAR, _MAKE_DIR, _MAKE_REG, _MAKE_SOCK, _MAKE_FIFO, _MAKE_BLOCK, _MAKE_SYM = (
    1 << number for number in range(6, 13)
)
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_BIND_TCP, _CONNECT_TCP = 1 << 0, 1 << 1
_SCOPE_ABSTRACT_SOCKET, _SCOPE_SIGNAL = 1 << 0, 1 << 1

_MAKE = _MAKE_CHAR | _MAKE_DIR | _MAKE_REG | _MAKE_SOCK | _MAKE_FIFO | _MAKE_BLOCK | _MAKE_SYM
_WRITE = _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE
_OF_A_FILE = _WRITE_FILE | _TRUNCATE
# By the level from which on a kernel knows them.
_MORE_WRITE = {2: _REFER, 3: _TRUNCATE, 5: _IOCTL_DEV}
NETWORK_LEVEL, _SCOPE_LEVEL = 4, 6
DEVICES = Path("/dev")


def level() -> int:
    """Return how much of it this kernel knows: 0 for nothing, 4 and more for TCP, too."""
    if sys.platform != "linux":
        return 0
    # A kernel without it, or one that has it turned off, answers -1.
    return max(0, _syscall(_CREATE_RULESET, None, 0, _VERSION_FLAG))


def confine(folders: Sequence[Path], ports: Sequence[int], files: Sequence[Path] = ()) -> None:
    """Let this process write below `folders` and connect to TCP `ports`, and no others, for good.

    The caller has given up gaining rights (process_limits.py), and has started no thread: those
    that run already are not confined.

    Args:
        folders: they must be there.
        ports: at any address.
        files: single ones; made, empty and their owner's alone, where they are not there.

    Raises:
        ConfigurationError: a folder is not there, or the kernel refuses.
    """
    known = level()
    if not known:
        return
    writing = _WRITE
    for since, right in _MORE_WRITE.items():
        writing |= right if known >= since else 0
    network = _BIND_TCP | _CONNECT_TCP if known >= NETWORK_LEVEL else 0
    scoped = _SCOPE_ABSTRACT_SOCKET | _SCOPE_SIGNAL if known >= _SCOPE_LEVEL else 0
    handled = struct.pack("=QQQ", writing, network, scoped)
    # An older kernel wants no more than it knows.
    size = 8 if not network else 16 if not scoped else 24
    rules = _checked(_syscall(_CREATE_RULESET, handled[:size], size, 0))
    try:
        for folder in folders:
            _allow_below(rules, folder, writing)
        for file in files:
            _allow_file(rules, file, writing & _OF_A_FILE)
        _allow_below(rules, DEVICES, writing & ~_MAKE_CHAR & ~_MAKE_BLOCK)
        for port in ports if network else ():
            rule = struct.pack("=QQ", _CONNECT_TCP, port)
            _checked(_syscall(_ADD_RULE, rules, _NET_PORT, rule, 0))
        _checked(_syscall(_RESTRICT_SELF, rules, 0))
    finally:
        os.close(rules)


def _allow_below(rules: int, folder: Path, rights: int) -> None:
    try:
        descriptor = os.open(folder, os.O_PATH | os.O_CLOEXEC | os.O_DIRECTORY)
    except OSError as error:
        raise ConfigurationError(
            f"an app may write below {folder}, which cannot be opened: {error.strerror}",
            hint="node.toml, [confinement] write, names folders that are there",
        ) from error
    try:
        rule = struct.pack("=Qi", rights, descriptor)
        _checked(_syscall(_ADD_RULE, rules, _PATH_BENEATH, rule, 0))
    finally:
        os.close(descriptor)


def _allow_file(rules: int, file: Path, rights: int) -> None:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(file, flags, 0o600)
    except OSError as error:
        raise ConfigurationError(
            f"an app may write {file}, which cannot be opened: {error.strerror}",
            hint="is the path right, and may this user write there?",
        ) from error
    try:
        rule = struct.pack("=Qi", rights, descriptor)
        _checked(_syscall(_ADD_RULE, rules, _PATH_BENEATH, rule, 0))
    finally:
        os.close(descriptor)


def _syscall(number: int, *words: int | bytes | None) -> int:
    library = ctypes.CDLL(None, use_errno=True)
    plain = [ctypes.c_long(each) if isinstance(each, int) else each for each in words]
    library.syscall.restype = ctypes.c_long
    return int(library.syscall(ctypes.c_long(number), *plain))


def _checked(result: int) -> int:
    if result < 0:
        reason = os.strerror(ctypes.get_errno())
        raise ConfigurationError(
            f"this kernel does not confine the app's process: {reason}",
            hint="without [confinement] in node.toml an app writes and connects as its user can",
        )
    return result
