"""Asking vendors: what is asked for which evidence, and that half an answer is none."""

from __future__ import annotations

import base64
import http.client
import io
import json
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from fedenclave.attestation.amd.products import Product
from fedenclave.attestation.amd.report import SigningKey
from fedenclave.attestation.collateral import read_bundle
from fedenclave.attestation.detect import from_parts
from fedenclave.attestation.nvidia.revocation import crl_name
from fedenclave.attestation.nvidia.rim import FOLDER
from fedenclave.attestation.roots import pinned
from fedenclave.protocol.errors import ConfigurationError, MalformedMessage
from fedenclave.vendors import readable
from fedenclave.vendors.download import (
    DownloadFailed,
    HttpsDownloader,
    Response,
    _SafeRedirects,
    check_url,
)
from fedenclave.vendors.nvidia import requests_for_signers
from fedenclave.vendors.readable import Reader
from fedenclave.vendors.request import fetch, saved_as
from fedenclave.vendors.snapshot import write_snapshot
from fedenclave.vendors.tokens import GOOGLE_JWKS_URL
from fedenclave.vendors.wanted import requests_for, requests_for_issuers
from tests.attestation import fake_intel, fake_nvidia
from tests.attestation.fake_amd import CHIP, Machine

NOW = 1_764_028_800


class FakeVendors:
    """Answers every URL with its own text, and with headers if the test says so."""

    def __init__(self, answers: Mapping[str, Response] | None = None) -> None:
        self.asked: list[tuple[str, bytes]] = []
        self._answers = dict(answers or {})

    def ask(self, url: str, body: bytes = b"", content_type: str = "") -> Response:
        check_url(url)
        assert bool(body) == bool(content_type)
        self.asked.append((url, body))
        for beginning, answer in self._answers.items():
            if url.startswith(beginning):
                return answer
        return Response(body=url.encode(), headers={})


@pytest.mark.parametrize(
    ("product", "query"),
    [
        (Product.MILAN, "blSPL=4&teeSPL=0&snpSPL=24&ucodeSPL=219"),
        (Product.TURIN, "fmcSPL=1&blSPL=2&teeSPL=3&snpSPL=4&ucodeSPL=75"),
    ],
)
def test_amd_is_asked_for_the_key_of_this_chip_at_this_tcb(product: Product, query: str) -> None:
    report = Machine(product=product).report(version=3)
    chip = CHIP.hex()[:16] if product is Product.TURIN else CHIP.hex()
    name = product.value.capitalize()
    asked = {request.url for request in requests_for(from_parts("sev-snp", {"report": report}))}
    assert asked == {
        f"https://kdsintf.amd.com/vcek/v1/{name}/{chip}?{query}",
        f"https://kdsintf.amd.com/vcek/v1/{name}/crl",
    }


def test_amd_is_not_asked_for_a_vlek_which_only_its_provider_may_fetch() -> None:
    report = Machine(kind=SigningKey.VLEK).report(version=3)
    asked = [request.url for request in requests_for(from_parts("sev-snp", {"report": report}))]
    assert asked == ["https://kdsintf.amd.com/vlek/v1/Milan/crl"]


def test_intel_is_asked_for_this_platforms_tcb_and_the_chain_is_kept() -> None:
    chain = pinned("intel-sgx")[0].public_bytes(Encoding.PEM).decode()
    service = "https://api.trustedservices.intel.com/tdx/certification/v4/"
    headers = {
        "tcb-info-issuer-chain": quote(chain),
        "sgx-enclave-identity-issuer-chain": quote(chain),
    }
    vendor = fake_intel.FakeIntel()
    held = vendor.collateral("TDX")
    roots = Response(body=held["intel/root-ca-crl.der"], headers={})
    lists = Response(body=held["intel/pck-crl-platform.der"], headers={})
    others: dict[str, Response] = {
        "https://certificates.trustedservices.intel.com/": roots,
        "https://api.trustedservices.intel.com/sgx/": lists,
    }
    vendors = FakeVendors({service: Response(body=b"{}", headers=headers), **others})
    parts = {"quote": vendor.td_quote()}
    files = fetch(requests_for(from_parts("tdx", parts)), vendors)
    fmspc = next(name for name in files if "/tcb-info/" in name).split("/")[-1].split(".")[0]
    assert set(files) == {
        "intel/root-ca-crl.der",
        "intel/pck-crl-platform.der",
        f"intel/tdx/tcb-info/{fmspc}.json",
        f"intel/tdx/tcb-info/{fmspc}.pem",
        "intel/tdx/qe-identity.json",
        "intel/tdx/qe-identity.pem",
    }
    assert files["intel/tdx/qe-identity.pem"] == chain.encode()
    assert f"{service}tcb?fmspc={fmspc.upper()}" in [url for url, _ in vendors.asked]
    # A proxy that takes the header off would leave a document that nobody can verify.
    with pytest.raises(DownloadFailed, match="no header"):
        fetch(requests_for(from_parts("tdx", parts)), FakeVendors(others))


def test_nvidia_is_asked_for_manifests_lists_and_answers() -> None:
    parts = fake_nvidia.parts()
    tag = b"<SoftwareIdentity/>"
    manifest = {"rim": base64.b64encode(tag).decode()}
    answer = next(iter(fake_nvidia.ocsp_files(fake_nvidia.device_chain()).values()))
    vendors = FakeVendors(
        {
            "https://rim.attestation.nvidia.com/v1/rim/": Response(
                body=json.dumps(manifest).encode(), headers={}
            ),
            "https://ocsp.ndis.nvidia.com": Response(body=answer, headers={}),
            "http://crl.ndis.nvidia.com/": Response(
                body=next(iter(fake_nvidia.crl_files().values())), headers={}
            ),
        }
    )
    files = fetch(requests_for(from_parts("nvidia-gpu", parts)), vendors)
    assert [data for name, data in files.items() if name.startswith("nvidia/rim/")] == [tag] * 2
    posted = [body for url, body in vendors.asked if url == "https://ocsp.ndis.nvidia.com"]
    assert posted
    for body in posted:
        serial = ocsp.load_der_ocsp_request(body).serial_number
        assert f"nvidia/ocsp/{serial:x}.der" in files


def test_nvidia_is_asked_for_the_lists_that_certificates_name() -> None:
    parts = fake_nvidia.parts()
    of_device = [request.url for request in requests_for(from_parts("nvidia-gpu", parts))]
    lists = [url for url in of_device if url.startswith("http://")]
    service = "http://crl.ndis.nvidia.com/"
    assert lists == [f"{service}crl/l2-gh100.crl", f"{service}crl/l1-root.crl"]
    held = fake_nvidia.crl_files()
    (request,) = {
        request.url: request
        for request in requests_for_signers(fake_nvidia.manifests())
        if request.url.startswith("http://")
    }.values()
    assert request.url == f"{service}crl-corim/l1-corim"
    answer = held["nvidia/crl-corim/l1-corim.crl"]
    assert request.files(Response(body=answer, headers={})) == {
        "nvidia/crl-corim/l1-corim.crl": answer
    }


def test_lists_of_one_name_for_two_issuers_do_not_overwrite_each_other() -> None:
    names = {
        crl_name(f"http://crl.ndis.nvidia.com/{folder}/l2-gb100.crl")
        for folder in ("crl", "crl-corim")
    }
    assert len(names) == 2


@pytest.mark.parametrize("url", ["http://other.example/crl/l1.crl", "http://crl.ndis.nvidia.com/x"])
def test_a_signers_certificate_sends_us_nowhere_else(url: str) -> None:
    stranger = fake_nvidia.certificate("somebody", fake_nvidia.RIM_ROOT_NAME, crl=url)
    text = base64.b64encode(stranger.public_bytes(Encoding.DER))
    manifest = b"<X509Certificate>" + text + b"</X509Certificate>"
    with pytest.raises(MalformedMessage, match="revocation list"):
        requests_for_signers({f"{FOLDER}/x.xml": manifest})


def test_keys_of_token_makers_are_asked_from_whom_the_user_names() -> None:
    token = from_parts("confidential-space", {"token": b"x"})
    assert GOOGLE_JWKS_URL in [request.url for request in requests_for(token)]
    (request,) = requests_for_issuers(["https://hospital.weu.attest.azure.net"])
    assert request.url == "https://hospital.weu.attest.azure.net/certs"
    # The token itself does not say whom to ask: whoever made it would be asked.
    with pytest.raises(ConfigurationError, match="--issuer"):
        requests_for(from_parts("azure-maa", {"token": b"x"}))


@pytest.mark.parametrize("name", ["nitro", "psa", "cca", "tpm"])
def test_where_nothing_can_be_fetched_the_reason_is_said(name: str) -> None:
    with pytest.raises(ConfigurationError, match="nothing to fetch"):
        requests_for(from_parts(name, {}))


@pytest.mark.parametrize("name", ["sgx", "tdx", "sev-snp", "nvidia-gpu", "azure-vm"])
def test_damaged_evidence_asks_nobody(name: str) -> None:
    for parts in ({}, {"quote": b"x"}, {"report": b"x", "certificates": b""}, {"hcl-report": b""}):
        known = from_parts(name, {}).format
        given = {n: d for n, d in parts.items() if n in known.required | known.optional}
        with pytest.raises(ConfigurationError, match=r"does not decode|nothing to fetch"):
            requests_for(from_parts(name, given))


def test_a_failing_question_leaves_no_half_snapshot(tmp_path: Path) -> None:
    class Failing(FakeVendors):
        def ask(self, url: str, body: bytes = b"", content_type: str = "") -> Response:
            if self.asked:
                raise DownloadFailed(f"{url} answered with status 404")
            return super().ask(url, body, content_type)

    report = Machine().report()
    with pytest.raises(DownloadFailed):
        fetch(requests_for(from_parts("sev-snp", {"report": report})), Failing())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "reader",
    [
        readable.certificates,
        readable.crl,
        readable.json_object,
        readable.ocsp_answer,
        readable.swid_tag,
    ],
)
@pytest.mark.parametrize("page", [b"<html>please log in</html>", b"", b"[]"])
def test_a_page_in_the_vendors_place_is_not_kept(reader: Reader, page: bytes) -> None:
    with pytest.raises(DownloadFailed, match=r"as some/file is something else \(\d+ bytes"):
        saved_as("some/file", reader)(Response(body=page, headers={}))


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("sev-snp", lambda: {"report": Machine().report()}),
        ("tdx", lambda: {"quote": fake_intel.FakeIntel().td_quote()}),
        ("nvidia-gpu", fake_nvidia.parts),
        ("confidential-space", lambda: {"token": b"x"}),
    ],
)
def test_every_answer_is_judged_by_what_was_asked_for(
    name: str, parts: Callable[[], dict[str, bytes]]
) -> None:
    page = Response(body=b"<html>please log in</html>", headers={})
    for request in requests_for(from_parts(name, parts())):
        with pytest.raises(DownloadFailed, match=r"something else|sent no (manifest|header)"):
            request.files(page)


def test_a_snapshot_is_written_whole_and_read_back(tmp_path: Path) -> None:
    bundle = tmp_path / "client" / "collateral"
    bundle.parent.mkdir()
    write_snapshot(bundle, {"amd/milan/vcek.crl": b"1"}, NOW)
    write_snapshot(bundle, {"amd/milan/vcek.crl": b"2"}, NOW + 1)
    versions = read_bundle(bundle).versions("amd/milan/vcek.crl")
    assert [(version.data, version.fetched) for version in versions] == [
        (b"2", NOW + 1),
        (b"1", NOW),
    ]
    with pytest.raises(ConfigurationError, match="exists already"):
        write_snapshot(bundle, {"x": b""}, NOW)
    assert [path.name for path in bundle.parent.iterdir()] == ["collateral"]


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "a\\b"])
def test_no_name_leads_out_of_the_bundle(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="would be written as"):
        write_snapshot(tmp_path / "collateral", {name: b""}, NOW)
    assert not (tmp_path / "collateral").exists()


@pytest.mark.parametrize(
    "url",
    [
        "http://kdsintf.amd.com/x",
        "file:///etc/passwd",
        "ftp://x",
        "https:/x",
        "//x",
        "",
        "https://[",
        "https://.",
        "https://",
        "https://a b",
        "https://a\n",
        "http://crl.ndis.nvidia.com@evil.example/",
    ],
)
def test_nothing_is_asked_but_over_https(url: str) -> None:
    with pytest.raises(ConfigurationError, match="want one that begins with https"):
        HttpsDownloader().ask(url)


def test_a_bundle_with_something_strange_in_it_is_refused(tmp_path: Path) -> None:
    bundle = tmp_path / "collateral"
    snapshot = write_snapshot(bundle, {"a/b": b"1"}, NOW)
    (snapshot / "link").symlink_to("/etc/passwd")
    with pytest.raises(ConfigurationError, match="no regular file"):
        read_bundle(bundle)
    (snapshot / "link").unlink()
    (bundle / "notes.txt").write_text("x")
    with pytest.raises(ConfigurationError, match="want folders named by the time"):
        read_bundle(bundle)


def test_nobody_on_the_way_sends_us_to_another_host() -> None:
    handler = _SafeRedirects()
    asked = urllib.request.Request("http://crl.ndis.nvidia.com/crl/l1-root.crl")
    same = "http://crl.ndis.nvidia.com/crl/other.crl"
    headers = http.client.HTTPMessage()
    assert handler.redirect_request(asked, io.BytesIO(), 302, "", headers, same) is not None
    for other in ("https://internal.example/", "https://crl.ndis.nvidia.com:8443/x"):
        with pytest.raises(DownloadFailed, match="another host"):
            handler.redirect_request(asked, io.BytesIO(), 302, "", headers, other)
    with pytest.raises(ConfigurationError):
        handler.redirect_request(asked, io.BytesIO(), 302, "", headers, "http://10.0.0.1/")
