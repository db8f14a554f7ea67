"""Take checks out, play an attack, and see whether it got through."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedenclave.attack_suite.changed_code import change, copy_of_the_enclave
from fedenclave.attack_suite.registry import chosen
from fedenclave.attack_suite.runner import Ending, Played, play
from fedenclave.attack_suite.world import Setting
from fedenclave.protocol.signing import Signed

Change = tuple[str, str, str]
"""Of the enclave's code: the file, the check, what is left of it."""

Patch = tuple[object, str, object]
"""Of this process, in which the clients are: where the check is, its name, what takes its place."""

_OTHERWISE = re.compile(r"stopped by '.*', want '")


def played(name: str, where: Setting) -> Played:
    (attack,) = chosen([name])
    return play(attack, where)


def see_it_get_through(name: str, where: Setting) -> None:
    """Play an attack that nothing stops: neither its check, nor another one before or behind."""
    result = played(name, where)
    assert result.ending is Ending.NOT_STOPPED, (result.ending, result.why)
    assert not _OTHERWISE.search(result.why), result.why


def weakened(folder: Path, changes: Sequence[Change]) -> Path:
    """Return a copy of the enclave's code with some checks taken out."""
    code = copy_of_the_enclave(folder / "weak")
    for file, old, new in changes:
        change(code, file, old, new)
    return code


# What takes a check's place in the clients.


def no_check(*_: object, **__: object) -> None:
    """Find nothing wrong."""


def unverified(cls: Any, signed: bytes, _: object) -> Any:
    return cls.from_bytes(Signed.from_bytes(signed).payload)
