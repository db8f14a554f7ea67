"""Intel's collateral in a bundle: its names, and which version of a file is taken for a time.

  intel/root-ca-crl.der                  the root's list: intermediates and TCB signing
  intel/pck-crl-processor.der            the PCK CAs' lists; which one, the quote's chain says
  intel/pck-crl-platform.der
  intel/<tee>/tcb-info/<fmspc>.json      as Intel's service answers; <tee> is `sgx` or `tdx`
  intel/<tee>/tcb-info/<fmspc>.pem       its issuer chain, from the answer's header
  intel/<tee>/qe-identity.json
  intel/<tee>/qe-identity.pem

It verifies nothing: collateral.py does. Of several versions of a file that one is taken which says
itself that it is the latest that was issued by the given time, even if it has expired since, and is
then refused. Documents of the same second are ordered by their evaluation number, lists by their
own number, chains not at all.

Source: Intel PCS API version 4; the names are FedEnclave's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fedenclave.attestation.certificates import parse_certificates
from fedenclave.attestation.chain_versions import Chain, dated_chain
from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.collateral import (
    CollateralFile,
    Dated,
    choose_signed,
    read_versions,
)
from fedenclave.attestation.crl_versions import Crl, need_crl
from fedenclave.attestation.format import Question
from fedenclave.attestation.intel.signed_json import SignedJson, parse_signed_json
from fedenclave.attestation.intel.tcb_info import (
    QeIdentity,
    TcbInfo,
    read_qe_identity,
    read_tcb_info,
)
from fedenclave.attestation.result import Trust

T = TypeVar("T")
P = TypeVar("P", TcbInfo, QeIdentity)

ROOT_CRL = "intel/root-ca-crl.der"


def pck_crl_name(ca: str) -> str:
    """Return the name of the list by the PCK CA `ca`: `processor` or `platform`."""
    return f"intel/pck-crl-{ca}.der"


def tcb_info_name(tee: str, fmspc: bytes) -> str:
    """Return the name of the TCB info for `tee` (`SGX` or `TDX`)."""
    return f"intel/{tee.lower()}/tcb-info/{fmspc.hex()}.json"


def qe_identity_name(tee: str) -> str:
    """Return the name of the quoting enclave's identity for `tee` (`SGX` or `TDX`)."""
    return f"intel/{tee.lower()}/qe-identity.json"


def issuer_name(name: str) -> str:
    """Return the name of the issuer chain of the JSON document `name`."""
    return name.removesuffix(".json") + ".pem"


@dataclass(frozen=True, slots=True, kw_only=True)
class Document(Generic[P]):
    """A signed JSON document, parsed. `fetched` is in Unix seconds."""

    name: str
    fetched: int
    signed: SignedJson
    parsed: P


class Bundle:
    """The bundle, asked in the name of one quote. Every method raises `EvidenceRefused`."""

    def __init__(self, checklist: Checklist, question: Question) -> None:
        """Keep where refusals go, and the bundle and the time."""
        self._checklist, self._question = checklist, question

    def crl(self, name: str) -> Dated[Crl]:
        """Return the revocation list `name` for the time."""
        question = self._question
        return need_crl(self._checklist, question.collateral, name, question.now, Trust.HARDWARE)

    def tcb_info(self, tee: str, fmspc: bytes) -> Document[TcbInfo]:
        """Return the TCB info of a platform for the time."""
        return self._document(
            tcb_info_name(tee, fmspc), "tcbInfo", lambda signed: read_tcb_info(signed, tee)
        )

    def qe_identity(self, tee: str) -> Document[QeIdentity]:
        """Return the quoting enclave's identity for the time."""
        return self._document(
            qe_identity_name(tee), "enclaveIdentity", lambda signed: read_qe_identity(signed, tee)
        )

    def issuers(self, document: Document[Any]) -> Chain:
        """Return the issuer chain of `document`, leaf first."""
        name = issuer_name(document.name)
        files = self._need(name)
        # The chain that came with the document is the one, if it is there.
        together = [file for file in files if file.fetched == document.fetched]

        def parse(file: CollateralFile) -> Dated[Chain]:
            return dated_chain(file, parse_certificates(file.data, "it"))

        return self._choose(name, together or files, parse).content

    def _document(self, name: str, key: str, read: Callable[[SignedJson], P]) -> Document[P]:
        def parse(file: CollateralFile) -> Dated[Document[P]]:
            signed = parse_signed_json(file.data, key, "document")
            parsed = read(signed)
            return Dated(
                file=file,
                content=Document(name=name, fetched=file.fetched, signed=signed, parsed=parsed),
                issued=parsed.issued,
                next_update=parsed.next_update,
                rank=parsed.evaluation_number,
            )

        return self._choose(name, self._need(name), parse).content

    def _need(self, name: str) -> Sequence[CollateralFile]:
        return self._question.collateral.need(name, self._checklist, Trust.HARDWARE)

    def _choose(
        self,
        name: str,
        files: Sequence[CollateralFile],
        parse: Callable[[CollateralFile], Dated[T]],
    ) -> Dated[T]:
        """Return the version that counts at the time."""
        versions = read_versions(self._checklist, name, files, parse, Trust.HARDWARE)
        return choose_signed(versions, self._question.now)
