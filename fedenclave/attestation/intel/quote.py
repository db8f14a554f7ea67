"""Parse a DCAP quote strictly: header, body, signature section, certification data.

It verifies nothing: verify.py does. Every byte of a quote is taken; lengths must agree, reserved
fields must be zero, and a version, body type or key type that is not listed here is an error.

Bytes after the quote's own end: quoting services hand out a buffer of a fixed size, zero from the
quote's end on (70 bytes from the TDX quote generation service, 3,065 from Google's TSM report).
Nothing signs them, so they must be zero, and `Quote.raw` is without them.

Source: Intel SGX ECDSA Quote Library Reference for DCAP API, appendix A.4 (version 3); Intel TDX
DCAP Quote Generation and Verification Library, appendix A.3 (version 4) and A.4 (version 5); Intel
Software Developer's Manual, volume 3D, structure REPORT (the enclave report's body).
"""

from __future__ import annotations

from dataclasses import dataclass

from fedenclave.attestation.reader import Reader
from fedenclave.protocol.errors import MalformedMessage

HEADER_SIZE, ENCLAVE_REPORT_SIZE, TD10_SIZE, TD15_SIZE = 48, 384, 584, 648
"""Sizes in bytes: header, enclave report, TD report 1.0 and TD report 1.5."""

ECDSA_P256 = 2
SGX_TEE, TDX_TEE = 0x00, 0x81
INTEL_QE = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
_BODY_TYPES = {2: TD10_SIZE, 3: TD15_SIZE}
"""Body types of version 5 that are understood: TD report 1.0 and 1.5."""

PCK_CHAIN, QE_REPORT_DATA = 5, 6
"""Certification data types: a PCK chain in PEM, and a QE report with its own data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnclaveReport:
    """The body of an SGX REPORT: of an application's enclave or of the quoting enclave."""

    cpu_svn: bytes
    misc_select: bytes
    isv_ext_prod_id: bytes
    flags: int
    xfrm: bytes
    mrenclave: bytes
    mrsigner: bytes
    config_id: bytes
    isv_prod_id: int
    isv_svn: int
    config_svn: int
    isv_family_id: bytes
    report_data: bytes
    attributes: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class TdReport:
    """The body of a TD quote. The last two are None in TD report 1.0, which has no such fields."""

    tee_tcb_svn: bytes
    mrseam: bytes
    mrsignerseam: bytes
    seam_attributes: bytes
    td_attributes: bytes
    xfam: bytes
    mrtd: bytes
    mrconfigid: bytes
    mrowner: bytes
    mrownerconfig: bytes
    rtmrs: tuple[bytes, bytes, bytes, bytes]
    report_data: bytes
    tee_tcb_svn2: bytes | None
    mrservicetd: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """A quote, parsed. Nothing in it is verified.

    Attributes:
        raw: the quote, without the zeros after it.
        version: 3, 4 or 5.
        signed: header and body: what the attestation key signed.
        signature: r and s, 32 bytes each, big-endian.
        attestation_key: x and y, 32 bytes each, big-endian, on P-256.
        qe_report_raw: what the PCK key signed.
    """

    raw: bytes
    version: int
    body: EnclaveReport | TdReport
    signed: bytes
    signature: bytes
    attestation_key: bytes
    qe_report_raw: bytes
    qe_report: EnclaveReport
    qe_report_signature: bytes
    qe_auth_data: bytes
    certification_type: int
    certification_data: bytes

    @property
    def enclave(self) -> EnclaveReport:
        """The body of an SGX quote."""
        if not isinstance(self.body, EnclaveReport):
            raise TypeError("not an sgx quote")
        return self.body

    @property
    def td(self) -> TdReport:
        """The body of a TDX quote."""
        if not isinstance(self.body, TdReport):
            raise TypeError("not a tdx quote")
        return self.body


def looks_like_quote(data: bytes, versions: tuple[int, ...], tee: int) -> bool:
    """Return whether `data` begins as a quote of one of `versions` for the TEE type `tee`."""
    return (
        len(data) >= HEADER_SIZE + ENCLAVE_REPORT_SIZE
        and int.from_bytes(data[:2], "little") in versions
        and int.from_bytes(data[4:8], "little") == tee
        and data[12:28] == INTEL_QE
    )


def parse_quote(data: bytes, versions: tuple[int, ...], tee: int) -> Quote:
    """Return the quote in `data`.

    Args:
        data: the quote; zeros may follow it.
        versions: those that the caller's format has.
        tee: the TEE type that the caller's format has.

    Raises:
        MalformedMessage: it is not such a quote, byte for byte.
    """
    reader = Reader(data, "quote")
    version = _parse_header(reader, versions, tee)
    body = _parse_body(reader, version, tee)
    signed = data[: reader.at]
    section = reader.part(reader.little(4), "quote's signature section")
    signature, key = section.take(64), section.take(64)
    if version >= 4:
        section = _certification(section, QE_REPORT_DATA)
    qe_report_raw = section.take(ENCLAVE_REPORT_SIZE)
    qe_report_signature = section.take(64)
    auth_data = section.take(section.little(2))
    certification_type = section.little(2)
    certification_data = section.take(section.little(4))
    section.finish()
    size = reader.at
    if any(data[size:]):
        raise MalformedMessage(f"quote has {len(data) - size} bytes after its end, not all zero")
    return Quote(
        raw=data[:size],
        version=version,
        body=body,
        signed=signed,
        signature=signature,
        attestation_key=key,
        qe_report_raw=qe_report_raw,
        qe_report=parse_enclave_report(qe_report_raw, "quoting enclave's report"),
        qe_report_signature=qe_report_signature,
        qe_auth_data=auth_data,
        certification_type=certification_type,
        certification_data=certification_data,
    )


def _parse_header(reader: Reader, versions: tuple[int, ...], tee: int) -> int:
    version, key_type, got_tee = reader.little(2), reader.little(2), reader.little(4)
    if version not in versions:
        raise MalformedMessage(
            f"quote has version {version}, want {' or '.join(map(str, versions))}"
        )
    if key_type != ECDSA_P256:
        raise MalformedMessage(f"quote has attestation key type {key_type}, want 2 (ecdsa p-256)")
    if got_tee != tee:
        raise MalformedMessage(f"quote is for tee type {got_tee:#x}, want {tee:#x}")
    if version == 3:
        # SVNs of the quoting and the provisioning enclave. The QE report and the PCK certificate
        # say the same with Intel's signature, so these are not used.
        reader.take(4)
    else:
        reader.zeros(4, "header, bytes 8 to 11")
    vendor = reader.take(16)
    if vendor != INTEL_QE:
        raise MalformedMessage(f"quote is by quoting enclave vendor {vendor.hex()}, want Intel's")
    # 20 bytes of user data: an identifier that Intel derives from a key of the platform, which
    # nobody else can check, and 4 bytes that Intel's enclaves leave zero.
    reader.take(20)
    return version


def _parse_body(reader: Reader, version: int, tee: int) -> EnclaveReport | TdReport:
    if tee == SGX_TEE:
        return parse_enclave_report(reader.take(ENCLAVE_REPORT_SIZE), "enclave report")
    size = TD10_SIZE
    if version == 5:
        body_type, got = reader.little(2), reader.little(4)
        if body_type not in _BODY_TYPES:
            raise MalformedMessage(f"quote has body type {body_type}, want 2 or 3 (td report)")
        size = _BODY_TYPES[body_type]
        if got != size:
            raise MalformedMessage(f"quote has a body of {got} bytes, want {size}")
    return _parse_td_report(reader.take(size))


def _certification(section: Reader, wanted: int) -> Reader:
    """Return a reader over certification data of the one type that may be there."""
    found = section.little(2)
    if found != wanted:
        raise MalformedMessage(f"quote has certification data of type {found}, want {wanted}")
    inner = section.part(section.little(4), "quote's certification data")
    section.finish()
    return inner


def parse_enclave_report(data: bytes, what: str) -> EnclaveReport:
    """Return the body of an SGX REPORT.

    Raises:
        MalformedMessage: it has another size, or a reserved field is not zero.
    """
    reader = Reader(data, what)
    cpu_svn, misc_select = reader.take(16), reader.take(4)
    reader.zeros(12, "bytes 20 to 31")
    isv_ext_prod_id, attributes = reader.take(16), reader.take(16)
    mrenclave = reader.take(32)
    reader.zeros(32, "bytes 96 to 127")
    mrsigner = reader.take(32)
    reader.zeros(32, "bytes 160 to 191")
    config_id = reader.take(64)
    isv_prod_id, isv_svn, config_svn = reader.little(2), reader.little(2), reader.little(2)
    reader.zeros(42, "bytes 262 to 303")
    isv_family_id, report_data = reader.take(16), reader.take(64)
    reader.finish()
    return EnclaveReport(
        cpu_svn=cpu_svn,
        misc_select=misc_select,
        isv_ext_prod_id=isv_ext_prod_id,
        flags=int.from_bytes(attributes[:8], "little"),
        xfrm=attributes[8:],
        mrenclave=mrenclave,
        mrsigner=mrsigner,
        config_id=config_id,
        isv_prod_id=isv_prod_id,
        isv_svn=isv_svn,
        config_svn=config_svn,
        isv_family_id=isv_family_id,
        report_data=report_data,
        attributes=attributes,
    )


def _parse_td_report(data: bytes) -> TdReport:
    reader = Reader(data, "td report")
    report = TdReport(
        tee_tcb_svn=reader.take(16),
        mrseam=reader.take(48),
        mrsignerseam=reader.take(48),
        seam_attributes=reader.take(8),
        td_attributes=reader.take(8),
        xfam=reader.take(8),
        mrtd=reader.take(48),
        mrconfigid=reader.take(48),
        mrowner=reader.take(48),
        mrownerconfig=reader.take(48),
        rtmrs=(reader.take(48), reader.take(48), reader.take(48), reader.take(48)),
        report_data=reader.take(64),
        tee_tcb_svn2=reader.take(16) if reader.left else None,
        mrservicetd=reader.take(48) if reader.left else None,
    )
    reader.finish()
    return report
