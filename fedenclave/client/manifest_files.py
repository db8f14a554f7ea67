"""Manifests beside the one in force: those before it, and those to come."""

from __future__ import annotations

from pathlib import Path

from fedenclave.client.files import contents_of, read_file
from fedenclave.client.state import ClientState
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import MalformedMessage
from fedenclave.protocol.manifest import Manifest


def manifests_in(folder: Path) -> list[Manifest]:
    """Return the manifests in a folder; none where there is no such folder.

    Raises:
        ConfigurationError: one cannot be read, or is not usable.
    """
    return [read_manifest(path) for path in sorted(folder.glob("*.toml"))]


def read_manifest(path: Path) -> Manifest:
    """Return the manifest in a file.

    Raises:
        ConfigurationError: it cannot be read, or is not usable; with the file's name.
    """
    data = read_file(path, "manifest")
    with contents_of(path):
        return Manifest.from_bytes(data)


def goes_by_manifest(state: bytes) -> Digest | None:
    """Return the manifest that a client's state goes by; None for a damaged one."""
    try:
        return ClientState.from_bytes(state).manifest
    except MalformedMessage:
        return None
