"""Tell which format a file's evidence is of, and find its parts.

Vendors' tools write raw structures, hex, base64 and tokens; FedEnclave writes its own record. Each
format's module recognises its own. Nothing here is a check: what is recognised is appraised like
anything else.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from fedenclave.attestation.appraise import parts_of
from fedenclave.attestation.format import Format, Parts
from fedenclave.attestation.formats import ALL_FORMATS
from fedenclave.attestation.nvidia.gpu import PREFIX as GPU_PREFIX
from fedenclave.protocol.errors import ConfigurationError, MalformedMessage
from fedenclave.protocol.evidence import Evidence

MAX_FILE = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Detected:
    """A format and its parts. `evidence` is there if the file is FedEnclave's own record."""

    format: Format[Any]
    parts: Parts
    evidence: Evidence | None = None


def detect(data: bytes, name: str = "") -> Detected:
    """Return the format and the parts of the evidence in a file.

    Args:
        data: the file.
        name: the format's name, if the user gave it; else every format is asked.

    Raises:
        ConfigurationError: no format recognises it, or more than one does.
    """
    if len(data) > MAX_FILE:
        raise ConfigurationError(f"evidence has {len(data)} bytes, want at most {MAX_FILE}")
    own = _own_record(data)
    if own is not None:
        if name not in ("", own.format.name):
            raise ConfigurationError(f"evidence is of format {own.format.name}, want {name}")
        return own
    candidates = [format_named(name)] if name else list(ALL_FORMATS.values())
    for decoded in _decodings(data):
        found = [
            Detected(format=format_, parts=parts)
            for format_ in candidates
            if (parts := format_.recognise(decoded)) is not None
        ]
        if len(found) > 1:
            names = ", ".join(each.format.name for each in found)
            raise ConfigurationError(
                f"evidence could be of several formats: {names}", hint="say which with --format"
            )
        if found:
            return found[0]
    raise ConfigurationError(
        "evidence is of no format that this version knows" + (f" as {name}" if name else ""),
        hint="name the format and its parts: --format tpm --part quote=FILE --part signature=FILE; "
        "known: " + ", ".join(ALL_FORMATS),
    )


def from_parts(name: str, parts: Mapping[str, bytes]) -> Detected:
    """Return evidence whose parts the user named.

    Raises:
        ConfigurationError: there is no such format, or it has no such part.
    """
    return with_parts(Detected(format=format_named(name), parts={}), parts)


def with_parts(detected: Detected, parts: Mapping[str, bytes]) -> Detected:
    """Return evidence with further parts, or others in the place of its own.

    Raises:
        ConfigurationError: its format has no such part.
    """
    known = detected.format.required | detected.format.optional
    unknown = {name for name in parts if not name.startswith(GPU_PREFIX)} - known
    if unknown:
        raise ConfigurationError(
            f"evidence of format {detected.format.name} has no part {', '.join(sorted(unknown))}",
            hint="it has " + ", ".join(sorted(known)),
        )
    return replace(detected, parts={**detected.parts, **parts})


def format_named(name: str) -> Format[Any]:
    """Return the format of that name.

    Raises:
        ConfigurationError: there is none.
    """
    if name not in ALL_FORMATS:
        raise ConfigurationError(
            f"there is no evidence format {name[:40]!r}", hint="known: " + ", ".join(ALL_FORMATS)
        )
    return ALL_FORMATS[name]


def _own_record(data: bytes) -> Detected | None:
    try:
        evidence = Evidence.from_bytes(data)
    except MalformedMessage:
        return None
    return Detected(
        format=format_named(evidence.format), parts=parts_of(evidence), evidence=evidence
    )


def _decodings(data: bytes) -> Iterator[bytes]:
    """Yield the file as it is and, if it is text of that kind, decoded from hex and base64."""
    yield data
    try:
        text = "".join(data.decode("ascii").split())
    except UnicodeDecodeError:
        return
    with contextlib.suppress(ValueError):
        yield bytes.fromhex(text.removeprefix("0x"))
    for decode in (base64.b64decode, base64.urlsafe_b64decode):
        try:
            yield decode(text + "=" * (-len(text) % 4))
        except (binascii.Error, ValueError):
            continue
