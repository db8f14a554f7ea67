"""A data holder's folder: keys, the approved manifest, state, receipts, the newest model.

client.toml       who this is
member.key        the organisation's key: approves manifests (may live elsewhere)
client.key        this client's key: signs updates; or in a token, where client.toml says so
federation.toml   the manifest that the owner approved
next/             those that take its place, approved too, until the enclave goes by them
former/           those before it, for receipts of their time
apps/             the Flower apps that the owner let run here, and those that may no more
approvals/        the members' signed approvals
state.cbor        rounds taken part in, awaited receipts
collateral/       what vendors publish about their hardware, where the manifest names a TEE
keys.audit.jsonl  what was done with the client's signing keys
revocations.signed what the members no longer trust, where there is such a list
receipts/         one file per round
log.fel           everything that the enclave has signed, as far as this client was shown it
checkpoint        the newest signed note of that log, with witnesses' signatures if there were any
model.fem         the newest released model
events.jsonl      what happened here: refusals, evidence, updates; beside it run.lock of its node
"""

from __future__ import annotations

import fcntl
import time
from pathlib import Path
from typing import IO

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.attestation.endorsements import REVOCATIONS_FILE, read_endorsements
from fedenclave.attestation.policy import read_policies
from fedenclave.attestation.revocations import (
    Revocations,
    SignedRevocations,
    approve_revocations,
    verify_revocations,
)
from fedenclave.audit.amended import manifests_before
from fedenclave.client.files import read_file, read_key, write_at, write_key, write_whole
from fedenclave.client.identity import IDENTITY_FILE, Identity, read_identity
from fedenclave.client.manifest_files import goes_by_manifest, manifests_in, read_manifest
from fedenclave.client.session import ClientSession
from fedenclave.client.signing_keys import SigningKeys
from fedenclave.keys.pkcs11_token import Ask
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import ConfigurationError, MalformedMessage
from fedenclave.protocol.log_file import MAGIC
from fedenclave.protocol.manifest import Manifest, approving_members, changing_members
from fedenclave.protocol.signing import PublicKey, Signer, public_key, sign
from fedenclave.protocol.statements import VERSION, Approval, checked_name

LOG_FILE = "log.fel"
CHECKPOINT_FILE = "checkpoint"
NEXT = "next"
_DIGITS = 16


class ClientFolder:
    """Implements `ClientStore` on disk."""

    def __init__(self, path: Path) -> None:
        """Use the folder at `path`; nothing is read yet."""
        self.path, self.keys = path, SigningKeys(path)

    @classmethod
    def create(cls, path: Path, identity: Identity, ask: Ask | None = None) -> ClientFolder:
        """Make the folder with new keys.

        Args:
            path: the folder.
            identity: who the client is, and where its signing key is to be made.
            ask: asks for a token's PIN.

        Raises:
            ConfigurationError: it holds a client already, a name is not usable, or it cannot be
                written.
            KeysRefused: a token makes no key.
        """
        if (path / IDENTITY_FILE).exists():
            raise ConfigurationError(
                f"{path} holds a client already", hint="choose another folder; nothing was changed"
            )
        try:
            checked_name(identity.client, "client")
            checked_name(identity.member, "organisation")
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(0o700)
            for sub in ("approvals", "receipts"):
                (path / sub).mkdir(exist_ok=True)
        except MalformedMessage as error:
            raise ConfigurationError(error.message) from error
        except OSError as error:
            raise ConfigurationError(f"cannot make {path}: {error.strerror}") from error
        made = cls(path)
        made.keys.make(identity.signing_key, ask)
        write_key(path / "member.key", Ed25519PrivateKey.generate())
        write_whole(path / IDENTITY_FILE, identity.to_toml())
        return made

    def identity(self) -> Identity:
        """Return who this is.

        Raises:
            ConfigurationError: there is no client in the folder, or its file is not right.
        """
        return read_identity(self.path)

    def client_key(self, under: Manifest | None = None) -> Signer:
        """Return the key that signs updates, under a manifest. See `SigningKeys.of`."""
        return self.keys.of(under)

    def public_keys(self) -> tuple[PublicKey, PublicKey]:
        """Return the client's and the organisation's public keys."""
        return public_key(self.client_key()), public_key(read_key(self.path / "member.key"))

    def approve(self, manifest_file: Path, *, replace: bool = False) -> Path:
        """Approve a manifest as this organisation, keep both, and return the approval's path.

        Args:
            manifest_file: the manifest.
            replace: whether another manifest in the folder may be set aside for it.

        Raises:
            ConfigurationError: the manifest is not usable, this organisation with its key is not
                one of its members, or the folder holds another manifest.
        """
        manifest = read_manifest(manifest_file)
        read_policies(manifest.attestation)
        member = self.identity().member
        key = read_key(self.path / "member.key")
        follows = self._follows(manifest)
        members = [*manifest.members, *(self.manifest().members if follows else ())]
        if public_key(key) not in {m.key for m in members if m.name == member}:
            raise ConfigurationError(
                f"manifest does not name {member} with this folder's key as a member",
                hint="send the coordinator this folder's enrolment.json and approve what they make",
            )
        if not follows:
            self._make_room_for(manifest, replace=replace)
        approval = Approval(
            version=VERSION, federation=manifest.name, manifest=manifest.digest, member=member
        )
        if follows:
            (self.path / NEXT).mkdir(exist_ok=True)
        write_whole(self._next_file(manifest) if follows else self._in_force, manifest.source)
        return self._keep_approval(manifest, member, sign(approval, key))

    def _follows(self, manifest: Manifest) -> bool:
        """Return whether it takes the place of the folder's manifest, or of one that does."""
        if not self._in_force.exists():
            return False
        known = [self.manifest(), *self.next().values()]
        return manifest.continues in [each.digest for each in known]

    @property
    def _in_force(self) -> Path:
        return self.path / "federation.toml"

    def _next_file(self, manifest: Manifest) -> Path:
        return self.path / NEXT / f"{manifest.digest.hex()[:_DIGITS]}.toml"

    def next(self) -> dict[Digest, Manifest]:
        """Return the approved manifests that are to take the place of this one, by digest.

        Raises:
            ConfigurationError: one is not usable.
        """
        return {each.digest: each for each in manifests_in(self.path / NEXT)}

    def _go_on_under_next(self) -> None:
        """Let the next manifest take the place of this one, once the client has gone by it."""
        after, data = self.next(), self.load_state()
        goes_by = goes_by_manifest(data) if after and data is not None else None
        if goes_by not in after:
            return
        passed = manifests_before(after[goes_by], [self.manifest(), *after.values()])
        if self.manifest().digest not in [each.digest for each in passed]:
            return
        (self.path / "former").mkdir(exist_ok=True)
        for each in passed:
            write_whole(self.path / "former" / self._next_file(each).name, each.source)
        write_whole(self._in_force, after[goes_by].source)
        for each in (*passed, after[goes_by]):
            self._next_file(each).unlink(missing_ok=True)

    def former(self) -> list[Manifest]:
        """Return the manifests before this one."""
        return manifests_in(self.path / "former")

    def _make_room_for(self, manifest: Manifest, *, replace: bool) -> None:
        """Set aside another manifest and its approvals where that was asked for, or refuse."""
        path = self.path / "federation.toml"
        if not path.exists() or path.read_bytes() == manifest.source:
            return
        if not replace:
            raise ConfigurationError(
                f"{self.path} runs under another manifest already",
                hint="a client folder is for one federation: enrol another, or, to give this one "
                "up, --replace (the old manifest and its approvals are kept aside)",
            )
        aside = self.path / f"replaced-{time.time_ns()}"
        aside.mkdir()
        path.rename(aside / path.name)
        if (self.path / NEXT).exists():
            (self.path / NEXT).rename(aside / NEXT)
        (self.path / "approvals").rename(aside / "approvals")
        (self.path / "approvals").mkdir()
        # Signed by the members of the other manifest.
        if (self.path / REVOCATIONS_FILE).exists():
            (self.path / REVOCATIONS_FILE).rename(aside / REVOCATIONS_FILE)

    def add_approval(self, data: bytes) -> str | None:
        """Keep a member's approval of the manifest in force, or of one to come; return whose it is.

        None, and nothing is kept, where it is no member's.
        """
        for manifest in (self.manifest(), *self.next().values()):
            members = approving_members(manifest, [data]) or self._leaving(manifest, data)
            for member in members:
                self._keep_approval(manifest, member, data)
                return member
        return None

    def _leaving(self, manifest: Manifest, data: bytes) -> set[str]:
        """Return who approves a manifest to come as a member of one before it."""
        before = manifests_before(manifest, [self.manifest(), *self.next().values()])
        return changing_members(before[-1], manifest, [data]) if before else set()

    def _keep_approval(self, manifest: Manifest, member: str, data: bytes) -> Path:
        # Those of several manifests lie side by side, for receipts of their time.
        later = manifest.continues is not None
        name = f"{member}-{manifest.digest.hex()[:_DIGITS]}" if later else member
        path = self.path / "approvals" / f"{name}.approval"
        write_whole(path, data)
        return path

    def manifest(self) -> Manifest:
        """Return the manifest in the folder.

        Raises:
            ConfigurationError: there is none, or it is not usable.
        """
        path = self.path / "federation.toml"
        if not path.exists():
            self.identity()  # a folder without a client is another mistake
            raise ConfigurationError(
                f"{self.path} holds no approved manifest",
                hint="review it and approve it: fedenclave federation approve",
            )
        return read_manifest(path)

    def approvals(self, of: Manifest | None = None) -> tuple[bytes, ...]:
        """Return the signed approvals of a manifest, or of the one in force."""
        manifest = of or self.manifest()
        paths = sorted((self.path / "approvals").glob("*.approval"))
        found = (read_file(path, "approval") for path in paths)
        return tuple(each for each in found if approving_members(manifest, [each]))

    def add_revocations(self, data: bytes) -> Revocations:
        """Keep the members' signed list of what they no longer trust, in place of an older one.

        Raises:
            ConfigurationError: too few members signed it, or the folder holds a newer one.
        """
        manifest = self.manifest()
        new = verify_revocations(data, manifest)
        held = read_endorsements(self.path, manifest).revocations
        if held is not None and held.serial >= new.serial and held != new:
            raise ConfigurationError(
                f"revocation list is number {new.serial}, and the folder holds another with number "
                f"{held.serial}",
                hint="an older list would trust again what was revoked since; nothing was changed",
            )
        write_whole(self.path / REVOCATIONS_FILE, data)
        return new

    def sign_revocations(self, data: bytes) -> bytes:
        """Return the list in `data` (TOML, or signed by others already) with this member's name.

        Raises:
            ConfigurationError: it is no list.
        """
        try:
            signed = SignedRevocations.from_bytes(data)
        except MalformedMessage:
            signed = SignedRevocations(revocations=data, approvals=())
        named = Revocations.from_toml(signed.revocations).federation
        if named != self.manifest().name:
            raise ConfigurationError(
                f"revocation list is for federation {named[:80]!r}, want {self.manifest().name!r}"
            )
        key = read_key(self.path / "member.key")
        own = approve_revocations(signed.revocations, self.identity().member, key)
        return SignedRevocations(
            revocations=signed.revocations, approvals=tuple(sorted({*signed.approvals, own}))
        ).to_bytes()

    def lock(self) -> IO[bytes]:
        """Wait until nobody else has the folder, and return a file to close when done with it.

        Raises:
            ConfigurationError: there is no client in the folder, or it cannot be locked.
        """
        self.identity()
        try:
            file = (self.path / "lock").open("ab")
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            raise ConfigurationError(
                f"cannot lock {self.path}: {error.strerror}", hint="may this user write there?"
            ) from error
        return file

    def session(self, under: Manifest | None = None) -> ClientSession:
        """Return this client's session under the manifest that its owner approved.

        Args:
            under: the one that takes its place; None for the one in force.

        Raises:
            ConfigurationError: the owner has not approved the manifest, or anything is missing.
        """
        self._go_on_under_next()
        self.keys.take_up_next(self.manifest())
        identity, manifest = self.identity(), under or self.manifest()
        approvals = self.approvals(manifest)
        before = [*self.former(), self.manifest(), *self.next().values()]
        if identity.member not in approving_members(manifest, approvals):
            raise ConfigurationError(
                f"federation.toml is not approved by {identity.member}, this client's owner",
                hint="it was changed after the approval, or never approved: review it, then "
                "fedenclave federation approve",
            )
        return ClientSession(
            manifest=manifest,
            approvals=approvals,
            name=identity.client,
            key=self.client_key(manifest),
            store=self,
            endorsements=read_endorsements(self.path, manifest, before),
            former=[
                (each, self.approvals(each)) for each in before if each.digest != manifest.digest
            ],
        )

    def load_state(self) -> bytes | None:
        """See `ClientStore`."""
        path = self.path / "state.cbor"
        return read_file(path, "client state") if path.exists() else None

    def save_state(self, data: bytes) -> None:
        """See `ClientStore`."""
        write_whole(self.path / "state.cbor", data, mode=0o600)

    def save_receipt(self, name: str, data: bytes) -> None:
        """See `ClientStore`."""
        path = self.path / "receipts" / name
        if path.exists() and path.read_bytes() != data:
            path = path.with_stem(f"{path.stem}-{time.time_ns()}")
        write_whole(path, data)

    def save_log(self, entries: bytes, position: int) -> None:
        """See `ClientStore`."""
        first = position == len(MAGIC)
        write_at(self.path / LOG_FILE, 0 if first else position, MAGIC * first + entries)

    def save_checkpoint(self, note: bytes) -> None:
        """See `ClientStore`."""
        write_whole(self.path / CHECKPOINT_FILE, note)

    def save_model(self, model_file: bytes) -> None:
        """Keep the newest released model."""
        write_whole(self.path / "model.fem", model_file)

    def receipts(self) -> list[Path]:
        """Return the receipt files, oldest round first."""
        return sorted((self.path / "receipts").glob("*.receipt"))

    def forget_chain(self) -> Path:
        """Set state and log aside, so that the next round may come from a new enclave.

        Raises:
            ConfigurationError: there is no state.
        """
        path = self.path / "state.cbor"
        if not path.exists():
            raise ConfigurationError("this client has no state to forget")
        aside = time.time_ns()
        for name in (LOG_FILE, CHECKPOINT_FILE):
            if (file := self.path / name).exists():
                file.rename(file.with_stem(f"{file.stem}-{aside}"))
        kept = self.path / f"state-{aside}.cbor"
        path.rename(kept)
        return kept
