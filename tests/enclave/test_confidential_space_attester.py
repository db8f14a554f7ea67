"""Tokens by the launcher's socket: one strict answer of HTTP is a token, and nothing else is."""

import contextlib
import hashlib
import itertools
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from fedenclave.enclave.attesters import confidential_space
from fedenclave.enclave.attesters.attester import AttestationUnavailable
from fedenclave.enclave.attesters.confidential_space import ConfidentialSpaceAttester
from fedenclave.protocol.errors import Refusal
from fedenclave.protocol.evidence import EvidenceParts
from fedenclave.protocol.signing import public_key
from tests.enclave.fake_launcher import launcher

KEY = Ed25519PrivateKey.generate()
DATA = bytes(range(64))
TOKEN = b"aGVhZA.Ym9keQ.c2lnbmF0dXJl"
LONG = b"aGVhZA." + b"Ym9keQ" * 900 + b".c2lnbmF0dXJl"
HEAD = b"HTTP/1.1 200 OK\r\n"


def token_at(path: Path) -> bytes:
    evidence = ConfidentialSpaceAttester(path).evidence(DATA, KEY)
    assert (evidence.format, evidence.signing_key) == ("confidential-space", public_key(KEY))
    (part,) = EvidenceParts.from_bytes(evidence.document).parts
    assert part.name == "token"
    return part.data


def refused(path: Path) -> str:
    with pytest.raises(AttestationUnavailable, match=Refusal.ATTESTATION) as unavailable:
        token_at(path)
    return unavailable.value.why


@pytest.mark.parametrize("token", [TOKEN, LONG, LONG + b"\n"], ids=["length", "chunks", "line"])
def test_the_token_is_what_the_launcher_answers(tmp_path: Path, token: bytes) -> None:
    with launcher(tmp_path / "s", lambda _: token) as server:
        assert token_at(tmp_path / "s") == token.strip()
    nonce = hashlib.sha256(DATA).hexdigest()
    assert server.asked == [{"audience": "fedenclave", "token_type": "PKI", "nonces": [nonce]}]


def test_a_launcher_that_refuses_gives_no_evidence(tmp_path: Path) -> None:
    with launcher(tmp_path / "s", lambda _: TOKEN) as server:
        for server.status in (400, 404, 500):
            assert f"status {server.status}" in refused(tmp_path / "s")


@pytest.mark.parametrize("token", [b"", b"not a token", TOKEN + b"\r\nx", b"a.b", b"a.b.c.d"])
def test_a_body_that_is_no_token_is_no_evidence(tmp_path: Path, token: bytes) -> None:
    with launcher(tmp_path / "s", lambda _: token):
        assert "no token" in refused(tmp_path / "s")


@contextmanager
def answering(path: Path, answer: bytes) -> Iterator[None]:
    """Answer every request with the same bytes, and close."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            thread.join()


def chunked(*lines: bytes) -> bytes:
    return HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(lines)


def sized(length: bytes, body: bytes = TOKEN) -> bytes:
    return HEAD + b"Content-Length: " + length + b"\r\n\r\n" + body


SIZE = b"%d" % len(TOKEN)
CHUNK = b"%x\r\n%s\r\n" % (len(TOKEN), TOKEN)
LAST = b"0\r\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        sized(SIZE),
        sized(SIZE).replace(b"Content-Length", b"content-length"),
        sized(b" \t " + SIZE + b" \t"),
        HEAD.replace(b" OK", b"") + sized(SIZE)[len(HEAD) :],
        HEAD + b"Date: Wed, 25 Nov 2026 08:00:00 GMT\r\nX: \r\n" + sized(SIZE)[len(HEAD) :],
        chunked(CHUNK, LAST),
        chunked(b"00001A\r\n", TOKEN, b"\r\n", LAST),
        chunked(b"1\r\na\r\n", b"%x\r\n%s\r\n" % (len(TOKEN) - 1, TOKEN[1:]), LAST),
    ],
)
def test_every_spelling_that_http_allows_here_is_read(tmp_path: Path, answer: bytes) -> None:
    with answering(tmp_path / "s", answer):
        assert token_at(tmp_path / "s") == TOKEN


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n",
        TOKEN,
        sized(SIZE).replace(b"HTTP/1.1", b"HTTP/1.0"),
        sized(SIZE).replace(b"HTTP/1.1", b"HTTP/2"),
        sized(SIZE).replace(b"200", b"204"),
        b"HTTP/1.1 100 Continue\r\n\r\n" + sized(SIZE),
        sized(SIZE).replace(b"\r\n", b"\n"),
        HEAD + b"\r\n" + TOKEN,
        HEAD + b"Content-Length : 26\r\n\r\n" + TOKEN,
        HEAD + b" Content-Length: 26\r\n\r\n" + TOKEN,
        HEAD + b"Content-Length: 26\r\nContent-Length: 26\r\n\r\n" + TOKEN,
        HEAD + b"Content-Length: 26\r\nTransfer-Encoding: chunked\r\n\r\n" + TOKEN,
        HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + CHUNK + LAST,
        HEAD + b"X: " + b"x" * 9000 + b"\r\n" + sized(SIZE)[len(HEAD) :],
        sized(b"%d" % (len(TOKEN) - 1)),
        sized(b"%d" % (len(TOKEN) + 1)),
        sized(b"+" + SIZE),
        sized(b"0" + SIZE),
        sized(b"0x1a"),
        sized(b"70000", b"a.b." + b"c" * 69_996),
        sized(SIZE) + sized(SIZE),
        chunked(CHUNK),
        chunked(LAST),
        chunked(CHUNK, LAST, b"x"),
        chunked(CHUNK, b"0\r\n"),
        chunked(CHUNK, b"0\r\nX: y\r\n\r\n"),
        chunked(CHUNK.replace(b"\r\n", b";a=b\r\n", 1), LAST),
        chunked(CHUNK.replace(b"1a", b"-1a"), LAST),
        chunked(CHUNK.replace(b"1a", b"1b"), LAST),
        chunked(CHUNK.replace(b"1a", b"19"), LAST),
        chunked(CHUNK.replace(b"1a", b"ffffffffffffffffff"), LAST),
        chunked(CHUNK.replace(b"1a\r\n", b"1a\n"), LAST),
    ],
)
def test_every_other_answer_is_no_evidence(tmp_path: Path, answer: bytes) -> None:
    with answering(tmp_path / "s", answer):
        assert "answers with" in refused(tmp_path / "s")


@given(st.binary(max_size=200), st.sampled_from([b"", HEAD, sized(SIZE)[:40], chunked()]))
def test_any_bytes_are_a_token_or_the_one_error(rest: bytes, start: bytes) -> None:
    try:
        body = confidential_space._body(start + rest)
    except confidential_space._BadAnswer:
        return
    assert len(body) <= len(rest) + 26


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=6), st.data())
def test_chunks_are_read_as_they_were_cut_and_never_when_cut_off(
    pieces: list[bytes], data: st.DataObject
) -> None:
    made = chunked(*(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces), LAST)
    assert confidential_space._body(made) == b"".join(pieces)
    with pytest.raises(confidential_space._BadAnswer):
        confidential_space._body(made[: data.draw(st.integers(0, len(made) - 1))])


def test_an_answer_without_an_end_is_not_kept(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        sent = []

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                try:
                    while True:
                        connection.sendall(bytes(1 << 16))
                        sent.append(1)
                except OSError:
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        assert "too long" in refused(tmp_path / "s")
        thread.join()
    assert len(sent) < 20


def test_a_launcher_that_says_nothing_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confidential_space, "_SECONDS", 0.1)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        assert "timed out" in refused(tmp_path / "s").lower()


@contextmanager
def sending_for_ever(path: Path, part: bytes, pause: float) -> Iterator[list[int]]:
    """Send `part` again and again until nobody reads it; count how often."""
    sent: list[int] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def send() -> None:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                while len(sent) < 10_000:
                    connection.sendall(part)
                    sent.append(1)
                    time.sleep(pause)

        thread = threading.Thread(target=send)
        thread.start()
        try:
            yield sent
        finally:
            thread.join()


def test_a_launcher_that_trickles_is_given_up_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confidential_space, "_SECONDS", 0.3)
    with sending_for_ever(tmp_path / "s", b"x", 0.02) as sent:
        assert "timed out" in refused(tmp_path / "s")
    assert len(sent) < 1000


def test_connecting_asking_and_reading_have_one_time_limit_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each look at the clock finds a quarter of the time gone; nothing has to be waited for.
    clock = SimpleNamespace(
        monotonic=itertools.count(0.0, confidential_space._SECONDS / 4).__next__
    )
    monkeypatch.setattr(confidential_space, "time", clock)
    with sending_for_ever(tmp_path / "s", bytes(1000), 0):
        assert "timed out" in refused(tmp_path / "s")


def test_no_socket_and_nobody_behind_it_give_no_evidence(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "s")
    (tmp_path / "s").write_text("")
    assert "Connection refused" in refused(tmp_path / "s")
    assert "path too long" in refused(tmp_path / ("s" * 200))
