"""Show what would leave this machine, by really sealing a made-up update to a throwaway key."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fedenclave.client.folder import ClientFolder
from fedenclave.protocol import sealed_update as layout
from fedenclave.protocol.digests import sha256, to_text
from fedenclave.protocol.errors import ConfigurationError
from fedenclave.protocol.model import Model
from fedenclave.protocol.sealing import seal_update
from fedenclave.protocol.statements import NO_DATA, VERSION, Checkpoint, Suite, UpdateHeader


def dry_run(folder: ClientFolder, model: Model) -> dict[str, object]:
    """Return what a sealed update would show and hide, as plain values.

    Args:
        folder: an enrolled client with an approved manifest.
        model: a model of the federation's schema.

    Raises:
        ConfigurationError: the manifest is not approved, or the model is of another schema.
    """
    session = folder.session()
    manifest, identity = session.manifest, folder.identity()
    if model.schema.digest != manifest.schema:
        raise ConfigurationError(
            f"the model's schema is {to_text(model.schema.digest)}, want "
            f"{to_text(manifest.schema)}, the manifest's"
        )
    example = sha256(b"dry run")
    header = UpdateHeader(
        version=VERSION,
        federation=manifest.name,
        manifest=manifest.digest,
        round=session.state.sealed_round + 1,
        announcement=example,
        base_model=session.state.head_model,
        client=identity.client,
        data=NO_DATA,
        schema=manifest.schema,
        sealed_size=layout.sealed_size(model.schema, len(manifest.rules.reported)),
        checkpoint=Checkpoint(size=0, root=example),
    )
    sealed = seal_update(
        update=bytes(model.schema.payload_size),
        num_examples=1,
        schema=model.schema,
        header=header,
        suite=Suite.X25519,
        round_key=X25519PrivateKey.generate().public_key().public_bytes_raw(),
        signing_key=folder.client_key(),
        metrics=[0.0] * len(manifest.rules.reported),
    )
    rules = manifest.rules
    return {
        "readable_by_the_operator": [
            f"client {identity.client} of {identity.member}, federation {manifest.name}",
            "round number; digests of manifest, announcement, base model, schema",
            "the newest log checkpoint this client has seen",
            f"the size: {len(sealed)} bytes, the same for every update of this model",
            "when it was sent, and from which network address",
        ],
        "sealed_to_the_attested_enclave": [
            f"{model.schema.parameters} numbers in {len(model.schema.tensors)} tensors: "
            "trained parameters minus received parameters",
            f"the number of training examples (counts at most {rules.weight_cap})",
        ],
        "never_sent": [
            "records of the data set, labels, file names",
            "losses, accuracies and other metrics; texts of errors",
        ],
        "opened_only_by_code_measuring": [
            *(to_text(m) for m in manifest.attestation.insecure),
            *(f"as pinned in [attestation.{name}]" for name in manifest.attestation.formats),
        ],
        "averaged_with": f"at least {rules.min_cohort} organisations of "
        + ", ".join(sorted({client.member for client in manifest.clients})),
        "released": "the averaged model's parameters, to all members and the operator",
        "refused_before_averaging": f"NaN or infinity, an element above {rules.max_abs}, "
        f"a norm above {rules.max_norm} ({rules.over_norm})",
        "differential_privacy": "off: the released model may leak about its training data",
        "suite": manifest.suite.value,
        "manifest": to_text(manifest.digest),
    }
