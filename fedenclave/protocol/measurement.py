"""What is measured in development mode, and how.

The measurement is SHA-256 over the source files that the enclave loads (all of `fedenclave.enclave`
and `fedenclave.protocol`, and the package's `__init__.py`) and over the names and versions of
Python and of the libraries it loads. On a TEE the hardware measures instead.

Takes bytes and versions: whoever calls this has read the files.

SPEC.md, section 9.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fedenclave.protocol.digests import Digest, domain_digest, sha256
from fedenclave.protocol.records import Record

DEPENDENCIES = ("cbor2", "cryptography", "numpy")


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredFile(Record):
    """One source file: its path inside the package, with slashes, and its digest."""

    path: str
    digest: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredVersion(Record):
    """One library, or Python itself, and its version."""

    name: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredCode(Record):
    """Everything that goes into the measurement, sorted."""

    files: tuple[MeasuredFile, ...]
    versions: tuple[MeasuredVersion, ...]

    @property
    def measurement(self) -> Digest:
        """The one digest."""
        return domain_digest("measurement", self.to_bytes())


def measured_code(files: Mapping[str, bytes], versions: Mapping[str, str]) -> MeasuredCode:
    """Return what is measured.

    Args:
        files: source bytes by path.
        versions: `python` and each of DEPENDENCIES with its version.
    """
    return MeasuredCode(
        files=tuple(MeasuredFile(path=p, digest=sha256(files[p])) for p in sorted(files)),
        versions=tuple(MeasuredVersion(name=n, version=versions[n]) for n in sorted(versions)),
    )
