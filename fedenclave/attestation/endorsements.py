"""What a verifier holds besides the manifest: vendors' collateral and the members' revocations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fedenclave.attestation.collateral import EMPTY, Collateral, read_bundle
from fedenclave.attestation.revocations import Revocations, verify_revocations
from fedenclave.protocol.errors import ConfigurationError
from fedenclave.protocol.manifest import Manifest

COLLATERAL_FOLDER, REVOCATIONS_FILE = "collateral", "revocations.signed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endorsements:
    """A bundle, and the newest list of revocations; each may be absent.

    What is absent is refused where it is needed. `judge_revocations` is off only for evidence that
    this client has accepted already: what was sealed then needs its receipt, whatever is revoked
    since.
    """

    collateral: Collateral = EMPTY
    revocations: Revocations | None = None
    judge_revocations: bool = True

    def as_accepted(self) -> Endorsements:
        """Return the same for evidence that was judged when its update was sealed."""
        return replace(self, revocations=None, judge_revocations=False)


NO_ENDORSEMENTS = Endorsements()


def read_endorsements(
    folder: Path, manifest: Manifest, others: Sequence[Manifest] = ()
) -> Endorsements:
    """Return what lies in `folder`: `collateral/` and `revocations.signed`, each if it is there.

    Args:
        folder: where they lie.
        manifest: enough members of which must have signed the list.
        others: those before or after it: a list that its owner has put there stays valid where
            members have changed since.

    Raises:
        ConfigurationError: what is there cannot be read, or too few members signed the list.
    """
    bundle, list_file = folder / COLLATERAL_FOLDER, folder / REVOCATIONS_FILE
    try:
        data = list_file.read_bytes() if list_file.exists() else None
    except OSError as error:
        raise ConfigurationError(f"cannot read {list_file}: {error.strerror}") from error
    revocations = None
    if data is not None:
        signers = [each for each in others if _signed_by(data, each)]
        revocations = verify_revocations(data, signers[0] if signers else manifest)
    return Endorsements(
        collateral=read_bundle(bundle) if bundle.is_dir() else EMPTY, revocations=revocations
    )


def _signed_by(revocations: bytes, manifest: Manifest) -> bool:
    try:
        verify_revocations(revocations, manifest)
    except ConfigurationError:
        return False
    return True
