"""Ask a witness to cosign the log's checkpoint: one POST, as C2SP tlog-witness has it.

Rules:
  * A URL is asked as it is configured: no redirection is followed.
  * An answer is bounded in size and, once its headers are there, in time.
  * Nothing in an answer is believed here but the number that a conflict names, and that decides
    only from where a proof begins. Who is asked verifies the cosignatures.

What anybody on the way could change is checked by signatures, or could also be left unanswered; so
plain HTTP is allowed.

SPEC.md, section 7.3. Source: C2SP tlog-witness, add-checkpoint.
"""

from __future__ import annotations

import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Protocol
from urllib.parse import urlsplit

from fedenclave.protocol.errors import ConfigurationError, FedEnclaveError
from fedenclave.protocol.signed_note import to_base64

MAX_ANSWER = 1 << 15
MAX_PROOF = 63
SIZE_TYPE = "text/x.tlog.size"

_SIZE = re.compile(rb"(0|[1-9][0-9]{0,18})\n?")
_MEANINGS = {
    400: "it finds the request malformed",
    403: "it does not know the log's key",
    404: "it does not know the log, or this is not a witness's address",
    409: "it has cosigned another checkpoint, and does not say of which size",
    422: "it finds that the log does not go on from what it has cosigned",
}


class WitnessFailed(FedEnclaveError):
    """A witness gave no cosignature that counts. `kind` tells repetitions from what is new."""

    def __init__(self, kind: str, message: str, *, hint: str = "") -> None:
        """Keep the kind apart."""
        super().__init__(message, hint=hint)
        self.kind = kind


class OtherSize(Exception):
    """The witness has cosigned a log of another size last: `size`."""

    def __init__(self, size: int) -> None:
        """Keep the size, which is only the witness's word."""
        super().__init__(size)
        self.size = size


class Asker(Protocol):
    """Whatever can POST to a witness."""

    def ask(self, url: str, body: bytes) -> bytes:
        """Return the body of an answer with status 200.

        Raises:
            OtherSize: a proof from another size is wanted.
            WitnessFailed: there is no such answer.
        """
        ...


def request_body(old_size: int, proof: Sequence[bytes], note: bytes) -> bytes:
    """Return what is POSTed: the size that the proof begins at, the proof, the note.

    Raises:
        ValueError: the proof has more hashes than a request may carry (a caller's bug).
    """
    if len(proof) > MAX_PROOF:
        raise ValueError(f"proof has {len(proof)} hashes, want at most {MAX_PROOF}")
    lines = [f"old {old_size}", *map(to_base64, proof), "", ""]
    return "\n".join(lines).encode() + note


def checked_url(url: str) -> str:
    """Return the address that add-checkpoint is below, without a slash at its end.

    Raises:
        ConfigurationError: it is none that can be asked.
    """
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        parts, usable = urlsplit(""), False
    plain = url.isascii() and url.isprintable() and not set(url) & set(" @?#\\")
    if not usable or not plain or parts.scheme not in ("http", "https"):
        raise ConfigurationError(
            f"url is {url[:200]!r}, want http:// or https://, a host, and perhaps a path",
            hint="it is what the witness's operator calls its submission prefix",
        )
    return url.rstrip("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAsker:
    """The real one, by whatever proxy the environment names (HTTPS_PROXY, NO_PROXY).

    `timeout` seconds may pass without a byte, `deadline` until a whole body is there.
    """

    timeout: float = 10.0
    deadline: float = 30.0

    def ask(self, url: str, body: bytes) -> bytes:
        """See `Asker`."""
        headers = {"Content-Type": "text/plain; charset=utf-8", "User-Agent": "fedenclave"}
        request = urllib.request.Request(  # noqa: S310 - the configuration's url was checked
            f"{checked_url(url)}/add-checkpoint", data=body, headers=headers
        )
        opener = urllib.request.build_opener(_NoRedirection())
        try:
            with opener.open(request, timeout=self.timeout) as answer:
                if answer.status != http.client.OK:
                    raise _status(answer.status)
                return self._read(answer)
        except urllib.error.HTTPError as error:
            with error:
                raise self._failed(error) from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise _unreachable(error) from error

    def _read(self, answer: http.client.HTTPResponse | urllib.error.HTTPError) -> bytes:
        """Return the body, or give up on one that trickles: the timeout counts for each read."""
        end = time.monotonic() + self.deadline
        data = bytearray()
        while part := answer.read1(MAX_ANSWER):
            data += part
            if len(data) > MAX_ANSWER:
                raise WitnessFailed("answer", f"it answers with more than {MAX_ANSWER} bytes")
            if time.monotonic() > end:
                raise WitnessFailed("slow", f"its answer takes more than {self.deadline:.0f} s")
        return bytes(data)

    def _failed(self, error: urllib.error.HTTPError) -> Exception:
        """Return what another status than 200 means."""
        if error.code == http.client.CONFLICT and error.headers.get_content_type() == SIZE_TYPE:
            try:
                size = _SIZE.fullmatch(self._read(error))
            except WitnessFailed as failed:
                return failed
            except (OSError, ValueError, http.client.HTTPException) as broken:
                return _unreachable(broken)
            if size is not None:
                return OtherSize(int(size[1]))
            return WitnessFailed("answer", "it names no size of the log that it has cosigned")
        return _status(error.code)


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    """Takes a redirection for what it is to us: another status than 200."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> None:
        del req, fp, code, msg, headers, newurl


def _status(code: int) -> WitnessFailed:
    return WitnessFailed(
        f"status {code}", f"it answers with status {code}", hint=_MEANINGS.get(code, "")
    )


def _unreachable(error: Exception) -> WitnessFailed:
    return WitnessFailed("unreachable", f"it cannot be asked: {error}")
