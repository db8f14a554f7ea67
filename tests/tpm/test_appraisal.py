"""The enclave's evidence from a software TPM, as a client appraises it."""

import time
from collections.abc import Mapping

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from fedenclave.attestation.appraise import appraise_parts
from fedenclave.attestation.collateral import from_mapping
from fedenclave.attestation.format import Question, read_format_policy
from fedenclave.attestation.result import Appraisal, EvidenceRefused, Status
from fedenclave.attestation.tpm.activation import challenge
from fedenclave.attestation.tpm.key import parse_public
from fedenclave.attestation.tpm.quote_format import FORMAT
from fedenclave.attestation.tpm.statements import pack_activations
from fedenclave.enclave.attesters.attester import AttestationUnavailable
from fedenclave.enclave.attesters.kernel import Kernel
from fedenclave.enclave.attesters.tpm import TpmAttester
from fedenclave.enclave.tpm import attestation_key, counter, endorsement, pcrs
from fedenclave.enclave.tpm.activation import answer_challenge
from fedenclave.enclave.tpm.connection import connected
from fedenclave.enclave.tpm.enclave_pcr import QUOTED
from fedenclave.protocol.activation import VERSION, Activation
from fedenclave.protocol.digests import sha256
from fedenclave.protocol.evidence import EvidenceParts
from fedenclave.protocol.signing import key_to_text, public_key, sign
from fedenclave.protocol.toml_table import parse
from tests.tpm.policy import NO_ACTIVATION, UNMEASURED_BOOT, policy
from tests.tpm.probe import undefine
from tests.tpm.swtpm import Maker, SoftwareTpm

MEASUREMENT = sha256(b"this enclave")
CHANGED = sha256(b"this enclave, with one changed line")
REPORT_DATA = bytes(range(64))
REGISTERS = {**dict.fromkeys(QUOTED, "any"), 0: "00" * 32}
"""No firmware has measured anything into a software TPM; a value of one of PCR 0 to 7 is needed."""
KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
MEMBER = Ed25519PrivateKey.from_private_bytes(bytes([1] * 32))

Parts = dict[str, bytes]


def evidence(tpm: SoftwareTpm, report_data: bytes = REPORT_DATA) -> Parts:
    attester = TpmAttester(Kernel(), tpm.socket, MEASUREMENT)
    return EvidenceParts.from_bytes(attester.evidence(report_data, KEY).document).by_name()


def excepted(appraisal: Appraisal) -> list[str]:
    """Return the checks that fail, and pass only because the policy names them."""
    return [check.name for check in appraisal.checks if check.excepted]


def appraise(
    parts: Mapping[str, bytes], pins: str, bundle: Mapping[str, bytes] | None = None
) -> Appraisal:
    now = int(time.time())
    return appraise_parts(
        parts,
        read_format_policy(FORMAT, parse(pins.encode(), "policy")),
        Question(
            bound=FORMAT.bind(REPORT_DATA),
            now=now,
            freshness_seconds=600,
            collateral=from_mapping(bundle or {}, fetched=now),
            collateral_max_age_seconds=600,
        ),
    )


def first_failing(parts: Mapping[str, bytes], pins: str) -> str:
    with pytest.raises(EvidenceRefused) as refused:
        appraise(parts, pins)
    return next(check.name for check in refused.value.checks if not check.holds)


def pinned(parts: Mapping[str, bytes], **others: str) -> str:
    """Return a policy that pins this machine and MEASUREMENT."""
    name = parse_public(parts["ak"]).name.hex()
    return policy(
        aks=[name],
        measurement=MEASUREMENT,
        pcrs=REGISTERS,
        exceptions=[UNMEASURED_BOOT],
        **others,
    )


def test_what_the_policy_pins_is_accepted_with_a_warning_that_no_boot_was_measured(
    tpm: SoftwareTpm,
) -> None:
    parts = evidence(tpm)
    appraisal = appraise(parts, pinned(parts))
    assert (appraisal.status, excepted(appraisal)) == (Status.WARNING, ["measured boot"])
    assert appraisal.claims.identifiers["measurement"] == (MEASUREMENT.hex(),)


SEPARATOR = sha256(bytes(4))
LOADER = sha256(b"the boot loader of the image")


def start(tpm: SoftwareTpm, loader: bytes) -> None:
    """Measure as firmware does that starts this boot loader."""
    with connected(tpm.path) as connection:
        pcrs.extend(connection, 0, sha256(b"firmware"))
        for index in range(8):
            pcrs.extend(connection, index, SEPARATOR)
        pcrs.extend(connection, 4, loader)


def pinning(parts: Mapping[str, bytes], *indices: int) -> str:
    """Return a policy without exceptions that pins these registers as they are in `parts`."""
    values = {pcr: parts["pcrs"][32 * i :][:32].hex() for i, pcr in enumerate(QUOTED)}
    return policy(
        aks=[parse_public(parts["ak"]).name.hex()],
        measurement=MEASUREMENT,
        pcrs={index: values[index] for index in indices},
    )


def test_a_boot_that_firmware_measured_is_affirmed_without_exception(tpm: SoftwareTpm) -> None:
    start(tpm, LOADER)
    parts = evidence(tpm)
    assert appraise(parts, pinning(parts, 0, 2, 4, 7)).status is Status.AFFIRMING


def test_operator_booting_a_loader_of_his_own_and_extending_the_measurement_is_refused(
    tpm: SoftwareTpm,
) -> None:
    start(tpm, LOADER)
    approved = evidence(tpm)
    tpm.reboot()
    start(tpm, sha256(b"a loader of the operator's, which starts what it likes"))
    parts = evidence(tpm)
    assert first_failing(parts, pinning(approved, 0, 2, 4, 7)) == "pcr 4"
    # These registers are the same whatever is started: pinning them alone is no policy.
    for index in (0, 1, 2, 3, 5, 6, 7):
        assert first_failing(parts, pinning(approved, index)) == "measured boot"


def test_a_software_tpm_to_which_nothing_was_measured_is_refused_without_the_exception(
    tpm: SoftwareTpm,
) -> None:
    parts = evidence(tpm)
    for indices in [(0,), (4,), tuple(range(8))]:
        assert first_failing(parts, pinning(parts, *indices)) == "measured boot"


def test_a_quote_for_another_nonce_is_refused(tpm: SoftwareTpm) -> None:
    parts = evidence(tpm)
    replayed = evidence(tpm, bytes(64))
    assert first_failing(replayed, pinned(parts)) == "report data"


def test_another_measurement_is_refused(tpm: SoftwareTpm) -> None:
    TpmAttester(Kernel(), tpm.socket, CHANGED)
    tpm.reboot()
    attester = TpmAttester(Kernel(), tpm.socket, CHANGED)
    document = attester.evidence(REPORT_DATA, KEY).document
    parts = EvidenceParts.from_bytes(document).by_name()
    assert first_failing(parts, pinned(parts)) == "measurement"


def test_a_measurement_with_something_after_it_is_refused(tpm: SoftwareTpm) -> None:
    attester = TpmAttester(Kernel(), tpm.socket, MEASUREMENT)
    with connected(tpm.path) as connection:
        pcrs.extend(connection, 11, bytes(32))
        # Our own enclave says nothing any more; whoever can reach the TPM can have it quote.
        signer = attestation_key.create(connection)
        qualifying = sha256(REPORT_DATA)
        quote = pcrs.quote(connection, signer.handle, qualifying, QUOTED)
    with pytest.raises(AttestationUnavailable):
        attester.evidence(REPORT_DATA, KEY)
    parts = {
        "ak": signer.public,
        "pcrs": quote.values,
        "quote": quote.attest,
        "signature": quote.signature,
    }
    assert first_failing(parts, pinned(parts)) == "measurement"


def test_another_operating_system_is_refused(tpm: SoftwareTpm) -> None:
    pins = pinned(evidence(tpm)).replace('8 = ["any"]', f'8 = ["{bytes(32).hex()}"]')
    assert appraise(evidence(tpm), pins)
    tpm.reboot()
    with connected(tpm.path) as connection:
        pcrs.extend(connection, 8, sha256(b"another kernel"))
    assert first_failing(evidence(tpm), pins) == "pcr 8"


def test_another_machine_of_the_same_maker_is_refused(
    tpm: SoftwareTpm, other_tpm: SoftwareTpm
) -> None:
    assert first_failing(evidence(other_tpm), pinned(evidence(tpm))) == "ak"


@pytest.mark.parametrize("part", ["quote", "signature", "pcrs", "ak"])
def test_a_flipped_byte_anywhere_is_refused(tpm: SoftwareTpm, part: str) -> None:
    parts = evidence(tpm)
    pins = pinned(parts)
    for at in range(len(parts[part])):
        flipped = bytearray(parts[part])
        flipped[at] ^= 0x10
        with pytest.raises(EvidenceRefused):
            appraise({**parts, part: bytes(flipped)}, pins)


def test_a_pinned_counter_is_certified_by_its_name(tpm: SoftwareTpm) -> None:
    pins = pinned(evidence(tpm), counter_name=counter.NAME.hex())
    assert first_failing(evidence(tpm), pins) == "parts for this policy"
    with connected(tpm.path) as connection:
        counter.establish(connection)
    before = appraise(evidence(tpm), pins).claims.claims["counter"]
    with connected(tpm.path) as connection:
        undefine(connection, counter.INDEX)
        counter.establish(connection)
    after = appraise(evidence(tpm), pins).claims.claims["counter"]
    assert isinstance(before, int)
    assert isinstance(after, int)
    assert after > before


def test_an_old_certificate_of_the_counter_is_refused(tpm: SoftwareTpm) -> None:
    with connected(tpm.path) as connection:
        counter.establish(connection)
    old, new = evidence(tpm, bytes(64)), evidence(tpm)
    pins = pinned(new, counter_name=counter.NAME.hex())
    rolled_back = {**new, "counter": old["counter"], "counter-signature": old["counter-signature"]}
    assert first_failing(rolled_back, pins) == "counter report data"


def activated(tpm: SoftwareTpm, maker: Maker, parts: Parts) -> Parts:
    """Challenge the TPM as a member, and return the evidence with that member's statement."""
    with connected(tpm.path) as connection:
        (der,) = endorsement.certificates(connection)
    chain = [x509.load_der_x509_certificate(c) for c in (der, maker.issuer)]
    key, name = chain[0].public_key(), parse_public(parts["ak"]).name
    credential, secret = challenge(key, name)  # type: ignore[arg-type]
    assert answer_challenge(tpm.path, credential.to_file()) == secret
    statement = Activation(
        version=VERSION,
        member="alpha",
        attestation_key=name,
        ek_certificate=sha256(der),
        time=int(time.time()),
    )
    return {
        **parts,
        "ek-certificates": b"".join(c.public_bytes(Encoding.PEM) for c in chain),
        "activations": pack_activations([sign(statement, MEMBER)]),
    }


def by_activation(maker: Maker) -> tuple[str, dict[str, bytes]]:
    """Return a policy that takes any activated key under the maker's root, and the bundle."""
    root = x509.load_der_x509_certificate(maker.root).public_bytes(Encoding.PEM)
    pins = policy(
        aks=["none"],
        measurement=MEASUREMENT,
        pcrs=REGISTERS,
        exceptions=[UNMEASURED_BOOT],
        activation=(
            "activated_by = 1\n"
            f'activators = ["{key_to_text(public_key(MEMBER))}"]\n'
            f'ek_roots = ["{sha256(maker.root).hex()}"]\n'
        ),
    )
    return pins, {"tpm/ek-roots/nobody.pem": root}


def test_an_activated_key_under_the_makers_root_is_accepted(tpm: SoftwareTpm, maker: Maker) -> None:
    pins, bundle = by_activation(maker)
    assert NO_ACTIVATION not in pins
    appraisal = appraise(activated(tpm, maker, evidence(tpm)), pins, bundle)
    assert (appraisal.status, excepted(appraisal)) == (Status.WARNING, ["measured boot"])
    assert len(appraisal.claims.identifiers["certificate"]) == 3


def test_the_same_statement_beside_another_machines_quote_is_refused(
    tpm: SoftwareTpm, other_tpm: SoftwareTpm, maker: Maker
) -> None:
    pins, bundle = by_activation(maker)
    parts = activated(tpm, maker, evidence(tpm))
    with pytest.raises(EvidenceRefused, match="activations"):
        appraise({**parts, **evidence(other_tpm)}, pins, bundle)
