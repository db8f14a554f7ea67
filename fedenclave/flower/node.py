"""Whose node this is: a client folder named in the node's own configuration, or a development node.

The folder's path comes from the SuperNode's `--node-config` and never from the run configuration:
the operator writes the latter.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.app import ConfigRecord, Context

from fedenclave.client.folder import ClientFolder
from fedenclave.client.refusals import ManifestRefused
from fedenclave.client.session import ClientSession
from fedenclave.client.state import ClientState, IssuedNonce, MemoryStore, fresh_state
from fedenclave.flower import carrier
from fedenclave.flower.own_lines import say
from fedenclave.host.enclave_process import measure_enclave
from fedenclave.protocol.digests import Digest, from_text, to_text
from fedenclave.protocol.errors import ConfigurationError, EnclaveRefused
from fedenclave.protocol.evidence import NONCE_SIZE
from fedenclave.protocol.exchange import Hello, RoundOffer
from fedenclave.protocol.manifest import Manifest
from fedenclave.protocol.signing import Signed, public_key, sign
from fedenclave.protocol.statements import Announcement

FOLDER_KEY = "fedenclave-dir"
INSECURE_KEY = "fedenclave-insecure"
_STATE = "fedenclave.development"


class FlowerNode:
    """What the mod needs of a node. This one has a folder on disk."""

    def __init__(self, folder: ClientFolder) -> None:
        """Use the folder's approved manifest and keys, alone.

        Flower starts a process for each message, also at the same time. Two that read one state
        could each seal an update on one base model, to two enclaves: so one waits for the other.
        """
        self._folder = folder
        self._lock = folder.lock()
        try:
            self._session = folder.session()
        except BaseException:
            self._lock.close()
            raise

    def close(self) -> None:
        """Let the next process have the folder."""
        self._lock.close()

    def session(self) -> ClientSession:
        """Return the client's session."""
        return self._session

    def session_for(self, offer: RoundOffer) -> ClientSession:
        """Return the session to judge `offer` with: of the manifest that its owner approved.

        Raises:
            ManifestRefused: the offer is of a round under another.
            ConfigurationError: too few members have approved the next one.
        """
        wanted, now = _manifest_of(offer), self._session.manifest
        if (after := self._folder.next().get(wanted)) is not None:
            return self._folder.session(after)
        if wanted != now.digest:
            raise ManifestRefused(
                f"the round is under manifest {to_text(wanted)}, which this client's owner has not "
                f"approved; approved is {to_text(now.digest)}",
                hint="have the members changed it? get the file, review it (`fedenclave federation "
                "compare`), and approve it: fedenclave federation approve",
            )
        return self._session

    def signed_hello(self, now: int) -> bytes:
        """Return a fresh nonce, signed."""
        return self._session.signed_hello(now)

    def save_model(self, model_file: bytes) -> None:
        """Keep the newest checked model."""
        self._folder.save_model(model_file)

    def keep(self) -> None:
        """Make the node's memory durable; a folder is so already."""


def _manifest_of(offer: RoundOffer) -> Digest:
    """Return the manifest that an offer says it is under; whether it is, the session judges."""
    return Announcement.from_bytes(Signed.from_bytes(offer.announcement).payload).manifest


class DevelopmentNode(FlowerNode):
    """A node that takes its rules from the operator: for research, on data of no importance.

    Its keys, nonces and state live in Flower's context. It still checks everything that it can,
    also that the enclave claims to run the same code as is installed here.
    """

    def __init__(self, context: Context) -> None:
        """Use what the context remembers."""
        self._context = context
        record = context.state.get(_STATE)
        self._memory = record if isinstance(record, ConfigRecord) else ConfigRecord()
        key = carrier.bytes_of(self._memory, "key") or os.urandom(32)
        self._memory["key"] = key
        self._key = Ed25519PrivateKey.from_private_bytes(key)
        self._name = f"node-{context.node_id}"
        self._store = MemoryStore(carrier.bytes_of(self._memory, "state") or None)
        self._development_session: ClientSession | None = None
        manifest = carrier.bytes_of(self._memory, "manifest")
        if manifest:
            self._begin(manifest, carrier.bytes_list(self._memory, "approvals"))

    def _begin(self, source: bytes, approvals: Sequence[bytes]) -> ClientSession:
        manifest = Manifest.from_bytes(source)
        if not manifest.development:
            raise EnclaveRefused(
                "the federation's manifest is not a development one, and this node has no client "
                "folder",
                hint=f"enrol this node and name its folder: --node-config '{FOLDER_KEY}=\"...\"'",
            )
        own = from_text(_installed_measurement())
        if manifest.attestation.formats:
            # The operator made the rules, and would pin a machine of its own.
            raise EnclaveRefused(
                "the development manifest accepts evidence of "
                f"{', '.join(manifest.attestation.formats)}, want the installed code's alone",
                hint="for a TEE enrol this node, and review and approve its manifest",
            )
        if manifest.attestation.insecure != (own,):
            raise EnclaveRefused(
                "the enclave runs other code than is installed here: its measurement is "
                f"{', '.join(map(to_text, manifest.attestation.insecure))}, want {to_text(own)}",
                hint="install the same versions of Python, FedEnclave, numpy, cryptography, cbor2",
            )
        if self._store.state is None:
            self._store.state = self._first_state(manifest).to_bytes()
        self._development_session = ClientSession(
            manifest=manifest,
            approvals=approvals,
            name=self._name,
            key=self._key,
            store=self._store,
        )
        self._memory["manifest"] = source
        self._memory["approvals"] = list(approvals)
        return self._development_session

    def _first_state(self, manifest: Manifest) -> ClientState:
        """Return a fresh state that knows the nonce sent out before there was a manifest."""
        state = fresh_state(manifest.digest, manifest.initial_model)
        nonce = carrier.bytes_of(self._memory, "nonce")
        issued = int(str(self._memory.get("nonce-time", 0)))
        return replace(state, nonces=(IssuedNonce(nonce=nonce, time=issued),) if nonce else ())

    def session(self) -> ClientSession:
        """See `FlowerNode`."""
        if self._development_session is None:
            raise EnclaveRefused("this development node has not been offered a round yet")
        return self._development_session

    def session_for(self, offer: RoundOffer) -> ClientSession:
        """See `FlowerNode`; the first offer brings the rules, later ones cannot change them."""
        if self._development_session is not None:
            return self._development_session
        return self._begin(offer.manifest, offer.approvals)

    def signed_hello(self, now: int) -> bytes:
        """See `FlowerNode`."""
        if self._development_session is not None:
            return self._development_session.signed_hello(now)
        nonce = os.urandom(NONCE_SIZE)
        self._memory["nonce"], self._memory["nonce-time"] = nonce, now
        hello = Hello(
            client=self._name, key=public_key(self._key), nonce=nonce, chain_round=0, log_size=0
        )
        return sign(hello, self._key)

    def save_model(self, model_file: bytes) -> None:
        """Keep nothing: a development node has no folder."""

    def close(self) -> None:
        """Nothing is held."""

    def keep(self) -> None:
        """Write the memory back into Flower's context."""
        if self._store.state is not None:
            self._memory["state"] = self._store.state
        self._context.state[_STATE] = self._memory


def open_node(context: Context) -> FlowerNode:
    """Return this node.

    Raises:
        ConfigurationError: the node's configuration names no folder and allows no development.
    """
    path = context.node_config.get(FOLDER_KEY)
    if isinstance(path, str) and path:
        return FlowerNode(ClientFolder(Path(path)))
    if context.node_config.get(INSECURE_KEY) is True or _in_simulation():
        say(
            "insecure: this node takes its rules from the operator (development); use no data "
            "that matters"
        )
        return DevelopmentNode(context)
    raise ConfigurationError(
        f"this node's configuration names no client folder ({FOLDER_KEY})",
        hint=f"start the SuperNode with --node-config '{FOLDER_KEY}=\"/path\"', or, with data of "
        f"no importance, '{INSECURE_KEY}=true'",
    )


def _in_simulation() -> bool:
    """Return whether this process is a worker of Flower's simulation engine, which runs on ray."""
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


@cache
def _installed_measurement() -> str:
    return str(json.loads(measure_enclave())["measurement"])
