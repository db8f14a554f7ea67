"""`fedenclave data disclose` and `prove`: which data a round was trained on, shown to an auditor.

A log says of each client's data 32 bytes. Whoever has the data, their salt and the stages computes
them again; nobody can find other data that give the same. What a client's own code has done with
the data that it named, its owner vouches for, and the app that its owner approved.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from fedenclave.audit.log import VerifiedLog, verify_log
from fedenclave.cli.enclave_key import (
    Client,
    Key,
    ManifestPath,
    enclave_key,
    former_manifests,
    receipts_of,
    trusted_manifest,
)
from fedenclave.cli.keys_option import AuditFile, KeyringPath, KeysUri, PassphraseFile, chosen
from fedenclave.cli.terminal import print_json, say
from fedenclave.client.files import write_whole
from fedenclave.client.folder import LOG_FILE, ClientFolder
from fedenclave.datasets.contents import contents_digest
from fedenclave.datasets.errors import DatasetDamaged, LineageDiffers
from fedenclave.datasets.layout import HEAD
from fedenclave.datasets.lineage_file import FOLDER, KeptLineage, read_lineage
from fedenclave.datasets.locations import is_remote, store_at
from fedenclave.datasets.reader import open_dataset
from fedenclave.datasets.source import LocalFiles
from fedenclave.datasets.verify import verify as verify_dataset
from fedenclave.keys.provider import KeyProvider
from fedenclave.protocol.digests import Digest, equal, to_text
from fedenclave.protocol.errors import ConfigurationError

LineageFile = Annotated[
    Path | None,
    typer.Option("--lineage", help="The stages; default: the client folder's own."),
]


def disclose(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="The sealed dataset.")],
    lineage: Annotated[Path, typer.Option(help="The client folder's lineage/DIGEST.json.")],
    target: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where it goes.")],
    keys: KeysUri = None,
    keyring: KeyringPath = None,
    passphrase_file: PassphraseFile = None,
    audit: AuditFile = None,
) -> None:
    """Write what an auditor needs beside the data: salt and stages, as secret as they are.

    With it `fedenclave data prove` needs no key of this node's.
    """
    kept = read_lineage(lineage)
    provider = chosen(keys, keyring, passphrase_file, audit).provider
    with open_dataset(store_at(dataset), provider, purpose="disclose the salt of") as opened:
        _require_same(kept, opened.digest, kept.digest, "the file")
        salt = opened.salt
    if target.exists():
        raise ConfigurationError(f"{target} exists already", hint="nothing was changed")
    write_whole(target, replace(kept, salt=salt).to_json(), mode=0o600)
    say(f"{target}: for one auditor, with the data: fedenclave data open {dataset} --tar")
    say("keep it as the data: with it anybody can try guesses at them against the log")


def prove(
    source: Annotated[
        str,
        typer.Argument(
            metavar="DATA", help="The sealed dataset; or the data themselves, a file or a folder."
        ),
    ],
    number: Annotated[int, typer.Option("--round", min=1, help="Which round.")],
    client: Client = None,
    log: Annotated[
        Path | None, typer.Option(help="The log; default: the client folder's copy.")
    ] = None,
    of: Annotated[
        str, typer.Option(help="Whose data, as the roster calls it; default: the folder's client.")
    ] = "",
    lineage: LineageFile = None,
    manifest: ManifestPath = None,
    key: Key = None,
    keys: KeysUri = None,
    keyring: KeyringPath = None,
    passphrase_file: PassphraseFile = None,
    audit: AuditFile = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Prove, offline, that these data are what a client named in a round; exit 1 if not.

    A sealed dataset is read with its keyring; data in plain text with the salt that `disclose` put
    into the lineage file.
    """
    verified = _verified(log, client, manifest, key)
    name = of or _client_of(client)
    named = _named_in(verified, number, name)
    kept = read_lineage(lineage or _kept_by(client, named))
    digest = _digest_of(
        source, kept, lambda: chosen(keys, keyring, passphrase_file, audit).provider
    )
    _require_same(kept, digest, named, f"round {number} of the log")
    stages = [stage for stage, _ in kept.stages]
    if as_json:
        print_json(
            {
                "federation": verified.federation,
                "round": number,
                "client": name,
                "data": to_text(named),
                "dataset": to_text(digest),
                "stages": stages,
                "matches": True,
            }
        )
        return
    say(f"round {number} of {verified.federation}: {name} named data {to_text(named)}")
    say(f"dataset: {to_text(digest)}, all of it read")
    say(f"stages: {', '.join(stages) or 'none'}")
    say(f"{source} is what was named in that round")


def _verified(
    log: Path | None, client: Path | None, manifest: Path | None, key: str | None
) -> VerifiedLog:
    if log is None and client is None:
        raise ConfigurationError(
            "no log to look into", hint="--client FOLDER, or --log FILE with --manifest and --key"
        )
    file = log or (client or Path()) / LOG_FILE
    trusted = trusted_manifest(file, manifest, client)
    beside = manifest.parent if manifest is not None else client or file.parent
    judged_by = enclave_key(key, receipts_of(client, manifest))
    try:
        with file.open("rb") as stream:
            former = former_manifests(trusted, beside, [])
            return verify_log(stream, judged_by, trusted, former=former)
    except OSError as error:
        raise ConfigurationError(
            f"cannot read log {file}: {error.strerror}",
            hint="is the path right, and may this user read it?",
        ) from error


def _client_of(client: Path | None) -> str:
    if client is None:
        raise ConfigurationError("no client to look for", hint="--of NAME, or --client FOLDER")
    return ClientFolder(client).identity().client


def _named_in(verified: VerifiedLog, number: int, name: str) -> Digest:
    """Return what a round's log says of a client's data."""
    found = [each for each in verified.rounds if each.round == number]
    if not found:
        raise LineageDiffers(
            f"the log has no round {number}, it has {len(verified.rounds)}",
            hint="a client's own copy grows with the next round",
        )
    if name not in found[0].data:
        took_part = name in found[0].included
        raise LineageDiffers(
            f"round {number} says nothing of the data of {name[:100]}",
            hint="its app has named none: no sealed dataset was set in node.toml"
            if took_part
            else f"its update is not in it; those are: {', '.join(found[0].included) or 'none'}",
        )
    return found[0].data[name]


def _kept_by(client: Path | None, named: Digest) -> Path:
    if client is None:
        raise ConfigurationError(
            "no lineage to compute it from", hint="--lineage FILE, or --client FOLDER"
        )
    return client / FOLDER / f"{named.hex()}.json"


def _digest_of(source: str, kept: KeptLineage, provider: Callable[[], KeyProvider]) -> Digest:
    """Return the digest of the data, every byte of which has been read."""
    if is_remote(source) or (Path(source) / HEAD).is_file():
        with open_dataset(store_at(source), provider(), purpose="prove") as opened:
            if problems := verify_dataset(opened).problems:
                raise DatasetDamaged(
                    problems[0], hint="fedenclave data verify names every such place"
                )
            return opened.digest
    if not kept.salt:
        raise ConfigurationError(
            f"{source} is data in plain text, and the lineage has no salt to digest them with",
            hint="the member writes one that has: fedenclave data disclose",
        )
    return contents_digest(LocalFiles(Path(source)), kept.salt)


def _require_same(kept: KeptLineage, dataset: Digest, named: Digest, where: str) -> None:
    """Refuse data and stages that do not give what is named.

    Raises:
        LineageDiffers: they do not.
    """
    computed = kept.digest_from(dataset)
    if equal(computed, named):
        return
    if equal(dataset, kept.dataset):
        hint = "the data are those of the lineage: a stage or a parameter in it was changed"
    else:
        hint = f"the lineage is of {to_text(kept.dataset)}: other data, or another salt"
    raise LineageDiffers(
        f"data {to_text(dataset)} with these stages give {to_text(computed)}, {where} names "
        f"{to_text(named)}",
        hint=hint,
    )
