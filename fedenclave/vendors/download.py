"""Ask one URL: bounded in time and size, by whatever proxy the user's environment names."""

from __future__ import annotations

import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Protocol
from urllib.parse import urlsplit

from fedenclave.attestation.collateral import MAX_FILE
from fedenclave.protocol.errors import ConfigurationError, FedEnclaveError

_TIMEOUT_SECONDS, _DEADLINE_SECONDS = 30.0, 120.0
_CHUNK = 1 << 16
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")
_PLAIN_HTTP = (
    "http://crl.ndis.nvidia.com/",
    "http://privateca-content-65aa66b4-0000-231c-af62-14c14ee66454.storage.googleapis.com/",
)
"""Where certificates say that revocation lists are; these are signed, and HTTPS is not offered."""


class DownloadFailed(FedEnclaveError):
    """A vendor's service did not give what was asked for. Nothing was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A body, and headers by their names in lower case."""

    body: bytes
    headers: Mapping[str, str]


class Downloader(Protocol):
    """Whatever can ask a URL."""

    def ask(self, url: str, body: bytes = b"", content_type: str = "") -> Response:
        """Return the response to a GET, or to a POST where there is a body.

        Raises:
            DownloadFailed: there is none, or not with status 200.
            ConfigurationError: the URL is not one that may be asked.
        """
        ...


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirections within one host, and none to what may not be asked.

    Revocation lists come over plain HTTP, where anybody on the way could send us elsewhere.
    """

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        check_url(newurl)
        if urlsplit(newurl).netloc != urlsplit(req.full_url).netloc:
            raise DownloadFailed(f"{req.full_url} sends to another host: {newurl[:200]}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def check_url(url: str) -> None:
    """Refuse whatever is neither HTTPS nor a place that serves only what is signed.

    Raises:
        ConfigurationError: it is.
    """
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        host = ""
    plain = url.isascii() and url.isprintable() and " " not in url
    if not plain or not _HOST.fullmatch(host) or not url.startswith(("https://", *_PLAIN_HTTP)):
        raise ConfigurationError(
            f"url is {url[:200]!r}, want one that begins with https:// and a host's name"
        )


class HttpsDownloader:
    """The real one."""

    def __init__(self) -> None:
        """Use the environment's proxies (HTTPS_PROXY, NO_PROXY) and the system's authorities."""
        self._opener = urllib.request.build_opener(_SafeRedirects())

    def ask(self, url: str, body: bytes = b"", content_type: str = "") -> Response:
        """See `Downloader`."""
        check_url(url)
        headers = {"User-Agent": "fedenclave"}
        if body:
            headers["Content-Type"] = content_type
        request = urllib.request.Request(url, data=body or None, headers=headers)  # noqa: S310 - checked
        try:
            with self._opener.open(request, timeout=_TIMEOUT_SECONDS) as answer:
                data = _read(answer, url)
                names = {name.lower(): value for name, value in answer.headers.items()}
        except urllib.error.HTTPError as error:
            raise DownloadFailed(
                f"{url} answered with status {error.code}",
                hint="does the vendor know this machine? newer hardware may not be registered yet",
            ) from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise DownloadFailed(
                f"cannot get {url}: {error}",
                hint="fetch on a machine with a network, and copy the bundle's folder over",
            ) from error
        if len(data) > MAX_FILE:
            raise DownloadFailed(f"{url} gives more than {MAX_FILE >> 20} MiB")
        return Response(body=data, headers=names)


def _read(answer: http.client.HTTPResponse, url: str) -> bytes:
    """Return the body, or give up on one that trickles: the timeout counts for each read alone."""
    deadline = time.monotonic() + _DEADLINE_SECONDS
    data = bytearray()
    # One read of what is there, and not of a whole chunk: else the deadline is seldom looked at.
    while len(data) <= MAX_FILE and (part := answer.read1(_CHUNK)):
        data += part
        if time.monotonic() > deadline:
            raise DownloadFailed(f"{url} gives too little in {_DEADLINE_SECONDS:.0f} s")
    return bytes(data)
