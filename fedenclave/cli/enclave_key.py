"""Which enclave to judge by: its key as somebody names it, or as receipts' evidence proves it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from fedenclave.attestation.endorsements import read_endorsements
from fedenclave.audit.amended import manifests_before
from fedenclave.audit.folder import JudgedFile, judge_files, receipt_files
from fedenclave.cli.terminal import print_insecure
from fedenclave.client.manifest_files import read_manifest
from fedenclave.protocol.errors import ConfigurationError, MalformedMessage
from fedenclave.protocol.manifest import Manifest
from fedenclave.protocol.signing import PublicKey, key_from_text, key_to_text

Key = Annotated[
    str | None, typer.Option("--key", metavar="ed25519:…", help="The enclave's signing key.")
]
Client = Annotated[
    Path | None,
    typer.Option(
        "--client", metavar="FOLDER", help="A client folder: its receipts prove the enclave's key."
    ),
]
ManifestPath = Annotated[
    Path | None,
    typer.Option("--manifest", help="The agreed federation.toml; default: the folder's."),
]
NAME_IT = "name the enclave's key: --key ed25519:…, or a client folder with its receipts: --client"


def trusted_manifest(file: Path, manifest: Path | None, client: Path | None) -> Manifest:
    """Return the manifest that is named, or the client folder's, or the one beside `file`.

    Raises:
        ConfigurationError: there is none, or it cannot be used.
    """
    beside = (client if client is not None else file.parent) / "federation.toml"
    if manifest is None and not beside.is_file():
        raise ConfigurationError(
            "no manifest to judge by",
            hint="name the one that you trust: --manifest federation.toml",
        )
    return read_manifest(manifest or beside)


def former_manifests(trusted: Manifest, beside: Path, named: Sequence[Path]) -> list[Manifest]:
    """Return the manifests that `trusted` has taken the place of, the oldest first.

    Those that are named, and those in the folder `former` beside it.

    Raises:
        ConfigurationError: one cannot be read, or is named and is none of them.
    """
    kept = sorted((beside / "former").glob("*.toml"))
    files = {path: read_manifest(path) for path in (*kept, *named)}
    found = manifests_before(trusted, files.values())
    for path in named:
        if files[path] not in found:
            raise ConfigurationError(
                f"{path} is no manifest that the one you trust continues",
                hint="name every one between them, too: --former once for each",
            )
    return found


def named_key(text: str) -> PublicKey:
    """Return the key that an option names.

    Raises:
        ConfigurationError: it is none.
    """
    try:
        return key_from_text(text)
    except MalformedMessage as error:
        raise ConfigurationError(error.message, hint=NAME_IT) from error


def receipts_of(
    client: Path | None, manifest: Path | None, former: Sequence[Path] = ()
) -> list[JudgedFile]:
    """Return the client folder's receipts, each judged; none where no folder is named.

    Raises:
        ConfigurationError: there is no manifest to judge them by, or there are none.
    """
    if client is None:
        return []
    trusted = trusted_manifest(client, manifest, client)
    before = former_manifests(trusted, client, former)
    return judge_files(receipt_files([client]), trusted, read_endorsements(client, trusted), before)


def enclave_key(named: str | None, receipts: Sequence[JudgedFile]) -> PublicKey:
    """Return the named key, or the one that receipts prove.

    Raises:
        ConfigurationError: none is named, and no receipt proves one, or they prove several.
    """
    if named is not None:
        return named_key(named)
    if not receipts:
        raise ConfigurationError("no key to judge by", hint=NAME_IT)
    valid = [file.verified.attestation for file in receipts if file.verified is not None]
    keys = {attestation.signing_key for attestation in valid}
    if len(keys) != 1:
        texts = ", ".join(sorted(map(key_to_text, keys))) or "none"
        raise ConfigurationError(
            f"the receipts prove {len(keys)} enclaves' keys, want one: {texts}",
            hint="name the one whose log this is: --key ed25519:…"
            if keys
            else "fedenclave receipts verify says what is wrong with them",
        )
    return _said(keys.pop(), receipts)


def followed_key(followed: bytes, receipts: Sequence[JudgedFile]) -> PublicKey:
    """Return the key that a client's state says it follows, if a receipt proves it, too.

    Raises:
        ConfigurationError: none does.
    """
    for file in receipts:
        if file.verified is not None and file.verified.attestation.signing_key == followed:
            return _said(PublicKey(followed), receipts)
    raise ConfigurationError(
        "no receipt proves the key of the enclave that this client follows",
        hint="the first receipt comes after the first round; fedenclave receipts verify says what "
        "is wrong with one that is there",
    )


def _said(key: PublicKey, receipts: Sequence[JudgedFile]) -> PublicKey:
    valid = [file.verified.attestation for file in receipts if file.verified is not None]
    if any(attestation.insecure for attestation in valid if attestation.signing_key == key):
        print_insecure("development evidence: the key is what the enclave process said of itself")
    return key
