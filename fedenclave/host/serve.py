"""Run an aggregator: its configuration file, the enclave, the gateway, until a signal ends them.

Rules:
  * An unknown key, a missing key or a wrong type in the configuration is an error.
  * Without TLS only where `insecure_plaintext = true` says so.
  * What is insecure is said on stderr, at every start.
  * SIGTERM and SIGINT end the enclave: between two rounds it says so in its log, and an open round
    goes on at the next start.
  * An enclave that has ended ends the aggregator, for whoever watches over it to start it again.

The configuration's keys: `aggregator/README.md`.
"""

from __future__ import annotations

import logging
import re
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fedenclave.host.aggregator import Aggregator
from fedenclave.host.enclave_process import EnclaveDied
from fedenclave.host.endpoint import split_address
from fedenclave.host.gateway import Gateway
from fedenclave.host.key_services import Commands
from fedenclave.host.tls_files import TlsFiles, server_credentials
from fedenclave.host.witnesses import Witness, Witnesses, read_witnesses
from fedenclave.protocol.checkpoint_note import log_origin
from fedenclave.protocol.digests import to_text
from fedenclave.protocol.errors import ConfigurationError, MalformedMessage
from fedenclave.protocol.evidence import INSECURE, NONCE_SIZE, Evidence
from fedenclave.protocol.manifest import Manifest
from fedenclave.protocol.model import Model
from fedenclave.protocol.signed_note import NoteKey
from fedenclave.protocol.signing import PublicKey, key_to_text
from fedenclave.protocol.toml_table import Table, parse

READY = re.compile(r"ready: serving on \S+")
"""The line on stderr from which on clients are served."""

APPROVAL_SUFFIX = ".approval"
_MAX_STORE_BYTES = 1 << 50
_LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class AggregatorConfig:
    """What an aggregator needs to know. `tls` is None only with `insecure_plaintext`."""

    folder: Path
    manifest: Path
    approvals: Path
    model: Path
    listen: str
    store_limit: int
    tee: str
    evidence_parts: Mapping[str, Path]
    key_services: Commands
    witnesses: tuple[Witness, ...]
    tls: TlsFiles | None
    insecure_plaintext: bool


def read_config(path: Path) -> AggregatorConfig:
    """Return the configuration in a TOML file; relative paths count from the file's folder.

    Raises:
        ConfigurationError: it cannot be read, or does not say exactly what is wanted.
    """
    table = parse(_read(path, "configuration"), str(path))
    base = path.resolve().parent
    given = table.names()
    plaintext = "insecure_plaintext" in given and table.take_bool("insecure_plaintext")
    tls = _tls(table, base) if "tls" in given else None
    if plaintext == (tls is not None):
        found = "both [tls] and" if plaintext else "neither [tls] nor"
        raise ConfigurationError(
            f"{path} has {found} insecure_plaintext = true, want one of them",
            hint="name certificate and key under [tls]; plain text only behind something else "
            "that speaks TLS",
        )
    config = AggregatorConfig(
        folder=base / table.take_text("folder"),
        manifest=base / table.take_text("manifest"),
        approvals=base / table.take_text("approvals"),
        model=base / table.take_text("model"),
        listen=table.take_text("listen"),
        store_limit=table.take_int("store_limit", low=1 << 20, high=_MAX_STORE_BYTES),
        tee=table.take_text("tee"),
        evidence_parts=_parts(table, base) if "evidence_parts" in given else {},
        key_services=_commands(table) if "key_services" in given else {},
        witnesses=read_witnesses(table.take_table("witnesses")) if "witnesses" in given else (),
        tls=tls,
        insecure_plaintext=plaintext,
    )
    table.finish()
    split_address(config.listen)
    return config


def _parts(table: Table, base: Path) -> dict[str, Path]:
    named = table.take_table("evidence_parts")
    given = named.names()
    return {name: base / named.take_text(name) for name in given}


def _commands(table: Table) -> Commands:
    named = table.take_table("key_services")
    return {name: named.take_texts(name) for name in named.names()}


def _tls(table: Table, base: Path) -> TlsFiles:
    files = table.take_table("tls")
    tls = TlsFiles(
        certificate=base / files.take_text("certificate"), key=base / files.take_text("key")
    )
    files.finish()
    return tls


def serve(config: AggregatorConfig) -> None:
    """Serve until SIGTERM or SIGINT. Call it in the main thread.

    Raises:
        ConfigurationError: a file, the folder, the address or the TLS files cannot be used, or
            `tee` gives no evidence on this machine.
        RequestRefused: the enclave does not take up this manifest, these approvals or this model.
        EnclaveDied: the enclave has ended.
    """
    with _until_signalled() as stop, _logging_to_stderr():
        manifest, model = _read(config.manifest, "manifest"), _read_model(config.model)
        approvals = _read_approvals(config.approvals)
        rules = Manifest.from_bytes(manifest)
        # Before the enclave: a start that fails must not have begun a federation.
        server_credentials(config.tls, insecure_plaintext=config.insecure_plaintext)
        with (
            Aggregator(
                config.folder,
                manifest=manifest,
                approvals=approvals,
                model=model,
                tee=config.tee,
                evidence_parts={
                    name: _read(path, f"evidence part {name}")
                    for name, path in config.evidence_parts.items()
                },
                key_services=config.key_services,
                store_bytes=config.store_limit,
            ) as aggregator,
            Gateway(
                aggregator,
                config.listen,
                tls=config.tls,
                insecure_plaintext=config.insecure_plaintext,
            ) as gateway,
            Witnesses(
                config.witnesses,
                log_key=_log_key(aggregator, rules),
                file=aggregator.checkpoint_file,
                leaves=aggregator.leaves,
            ),
        ):
            _say_what_vouches(aggregator, config, rules)
            started = aggregator.info()[2]
            key = key_to_text(PublicKey(started.signing_key))
            _say(f"federation {rules.name}, enclave {to_text(started.measurement)}, key {key}")
            _say_where_it_goes_on(aggregator)
            if config.witnesses:
                names = ", ".join(witness.key.name for witness in config.witnesses)
                _say(f"witnesses: {names}; to them this log is")
                _say(f"  {_log_key(aggregator, rules).to_text()}")
            _say(f"ready: serving on {gateway.address}")
            while not stop.wait(_LOOK_SECONDS):
                if not aggregator.alive:
                    raise EnclaveDied(
                        "the enclave process has ended",
                        hint="started again, the aggregator goes on where its sealed state is; "
                        "let systemd do that (`Restart=on-failure`)",
                    )
            _say("ending")


def _log_key(aggregator: Aggregator, manifest: Manifest) -> NoteKey:
    key = PublicKey(aggregator.info()[2].signing_key)
    return NoteKey(name=log_origin(manifest.name, key), key=key)


def _say_what_vouches(aggregator: Aggregator, config: AggregatorConfig, manifest: Manifest) -> None:
    evidence = Evidence.from_bytes(aggregator.evidence(bytes(NONCE_SIZE)))
    if evidence.format == INSECURE:
        _say("insecure: development evidence: no hardware vouches for this enclave")
    else:
        _say(f"evidence: {evidence.format}")
    accepted = manifest.attestation.accepted
    if evidence.format not in accepted:
        _say(
            f"warning: the manifest accepts evidence of {', '.join(accepted)}, and here it is "
            f"{evidence.format}: no client will take part"
        )
    for warning in aggregator.info()[2].warnings:
        _say(f"insecure: {warning}")
    if config.insecure_plaintext:
        _say(f"insecure: plain text on {config.listen}: anybody on the way can meddle with rounds")


def _say_where_it_goes_on(aggregator: Aggregator) -> None:
    status = aggregator.status()
    if status.round:
        _say(
            f"goes on after a restart: round {status.round}, {status.state}, "
            f"{status.admitted} updates admitted, {status.log_size} entries in the log"
        )


def _say(line: str) -> None:
    # Flushed: whoever started us may be waiting for a line in a file.
    print(line, file=sys.stderr, flush=True)


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"cannot read {what} {path}: {error.strerror}",
            hint="is the path right, and may this user read it?",
        ) from error


def _read_model(path: Path) -> Model:
    try:
        return Model.from_bytes(_read(path, "model"))
    except MalformedMessage as error:
        raise ConfigurationError(
            f"model {path} cannot be used: {error.message}",
            hint="it is the file that the members agreed to start from",
        ) from error


def _read_approvals(folder: Path) -> list[bytes]:
    if not folder.is_dir():
        raise ConfigurationError(f"approvals folder {folder} is not there")
    files = sorted(path for path in folder.iterdir() if path.suffix == APPROVAL_SUFFIX)
    if not files:
        raise ConfigurationError(
            f"approvals folder {folder} holds no file *{APPROVAL_SUFFIX}",
            hint="each member makes one: `fedenclave federation approve`",
        )
    return [_read(path, "approval") for path in files]


@contextmanager
def _until_signalled() -> Iterator[threading.Event]:
    """Have SIGTERM and SIGINT set an event, and nothing else: no exception strikes midway."""
    stop = threading.Event()
    old = {
        number: signal.signal(number, lambda *_: stop.set())
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield stop
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


@contextmanager
def _logging_to_stderr() -> Iterator[None]:
    logger = logging.getLogger("fedenclave")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
