"""Keys in AWS KMS, played by moto on loopback, and by a fake where moto is too kind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedenclave.keys.errors import (
    AnswerNotTrusted,
    CannotUnwrap,
    KeyDestroyed,
    KeysRefused,
    NoSuchKey,
    NotAllowed,
    Unreachable,
)
from fedenclave.keys.locations import Access, open_keys
from fedenclave.keys.provider import KeyProvider, KeyState
from fedenclave.protocol.errors import ConfigurationError, FedEnclaveError
from tests.keys.events import read_events
from tests.keys.fake_service import (
    DATA_KEY,
    HANG,
    USE,
    FakeService,
    Request,
    serving,
)

pytest.importorskip("boto3", reason="boto3 is not installed: pip install '.[aws]'")

SECRET = "not-a-real-secret-access-key"
ACCOUNT = "arn:aws:kms:eu-central-1:123456789012"


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = pytest.importorskip("moto.server", reason="moto is not installed: pip install .[dev]")
    running = server.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def client(moto: str, credentials: None, monkeypatch: pytest.MonkeyPatch) -> Any:
    import boto3
    import requests

    requests.post(f"{moto}/moto-api/reset", timeout=10)
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", moto)
    return boto3.client("kms", region_name="eu-central-1")


@pytest.fixture
def keys(client: Any, audit: Path) -> KeyProvider:
    opened = open_keys(
        f"aws-kms:{ACCOUNT}:alias/node", Access(passphrase=lambda _: b"", audit=audit)
    )
    assert opened.key == "node"
    return opened.provider


def test_a_version_is_a_kms_key_with_an_alias(keys: KeyProvider, client: Any) -> None:
    keys.create("node")
    wrapped = keys.wrap(DATA_KEY, "node", **USE)
    assert (wrapped.provider, wrapped.key, wrapped.version) == ("aws-kms", "node", 1)
    assert keys.unwrap(wrapped, **USE) == DATA_KEY
    assert keys.rotate("node").version == 2
    assert keys.wrap(DATA_KEY, "node", **USE).version == 2
    assert keys.unwrap(wrapped, **USE) == DATA_KEY
    aliases = {
        alias["AliasName"]: alias["TargetKeyId"] for alias in client.list_aliases()["Aliases"]
    }
    assert aliases["alias/node-v1"] != aliases["alias/node-v2"]
    assert [(v.version, v.state) for v in keys.versions()] == [
        (1, KeyState.READABLE),
        (2, KeyState.NEWEST),
    ]


def test_a_key_that_is_there_already_is_used_by_its_alias(keys: KeyProvider, client: Any) -> None:
    made = client.create_key()["KeyMetadata"]["KeyId"]
    client.create_alias(AliasName="alias/node-v1", TargetKeyId=made)
    client.create_alias(AliasName="alias/node", TargetKeyId=made)
    client.create_alias(AliasName="alias/nodes-v7", TargetKeyId=made)
    wrapped = keys.wrap(DATA_KEY, "node", **USE)
    assert wrapped.version == 1
    assert made.encode() in wrapped.wrapped
    with pytest.raises(KeysRefused, match="has a key node already"):
        keys.create("node")


def test_destroying_is_scheduled_and_said_to_be(keys: KeyProvider, client: Any) -> None:
    keys.create("node")
    keys.rotate("node")
    gone = keys.destroy("node", 1)
    assert gone.state is KeyState.SCHEDULED
    now = keys.versions()[1].created
    assert 29 * 86_400 < gone.destroyed - now < 31 * 86_400
    with pytest.raises(KeyDestroyed, match="destroyed already"):
        keys.destroy("node", 1)
    assert [v.state for v in keys.versions()] == [KeyState.SCHEDULED, KeyState.NEWEST]


def test_a_changed_or_moved_wrapped_key_does_not_unwrap(keys: KeyProvider) -> None:
    keys.create("node")
    wrapped = keys.wrap(DATA_KEY, "node", **USE)
    with pytest.raises(CannotUnwrap):
        keys.unwrap(wrapped, subject="dataset b", context="b")
    with pytest.raises(CannotUnwrap, match="does not decode"):
        keys.unwrap(replace(wrapped, wrapped=b"x" + wrapped.wrapped), **USE)
    for old, new in ((b"123456789012", b"210987654321"), (b"eu-central-1", b"eu-central-2")):
        moved = replace(wrapped, wrapped=wrapped.wrapped.replace(old, new, 1))
        with pytest.raises(CannotUnwrap, match="name the account and region"):
            keys.unwrap(moved, **USE)


def test_every_step_is_an_event_without_secrets(keys: KeyProvider, audit: Path) -> None:
    keys.create("node")
    keys.unwrap(keys.wrap(DATA_KEY, "node", **USE), **USE)
    assert [event["event"] for event in read_events(audit)] == [
        *("change-begun", "key-created", "key-wrapped", "key-unwrapped"),
    ]
    text = audit.read_text()
    assert SECRET not in text
    assert DATA_KEY.hex() not in text


KMS_KEY = f"{ACCOUNT}:key/11111111-2222-3333-4444-555555555555"


@pytest.fixture
def fake(credentials: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeService]:
    import base64

    def answer(request: Request) -> tuple[int, Any]:
        step = request.headers["x-amz-target"].removeprefix("TrentService.")
        blob = base64.b64encode(b"wrapped").decode()
        return (
            answers.get(step)
            or {
                "ListAliases": (200, {"Aliases": [{"AliasName": "alias/node-v1"}]}),
                "Encrypt": (200, {"KeyId": KMS_KEY, "CiphertextBlob": blob}),
                "Decrypt": (
                    200,
                    {"KeyId": KMS_KEY, "Plaintext": base64.b64encode(DATA_KEY).decode()},
                ),
            }[step]
        )

    answers: dict[str, tuple[int, Any]] = {}
    with serving(FakeService(answer)) as served:
        served.answers = answers  # type: ignore[attr-defined]
        monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", served.url)
        yield served


@pytest.fixture
def faked(fake: FakeService, audit: Path) -> KeyProvider:
    return open_keys(f"aws-kms:{ACCOUNT}", Access(passphrase=lambda _: b"", audit=audit)).provider


def test_what_is_sent_is_what_kms_documents(faked: KeyProvider, fake: FakeService) -> None:
    import base64

    wrapped = faked.wrap(DATA_KEY, "node", **USE)
    assert faked.unwrap(wrapped, **USE) == DATA_KEY
    context = {"fedenclave-key": "node", "fedenclave-context": "a"}
    listed, encrypt, decrypt = fake.requests
    assert encrypt.body == {
        "KeyId": f"{ACCOUNT}:alias/node-v1",
        "Plaintext": base64.b64encode(DATA_KEY).decode(),
        "EncryptionContext": context,
    }
    assert decrypt.body == {
        "KeyId": KMS_KEY,
        "CiphertextBlob": base64.b64encode(b"wrapped").decode(),
        "EncryptionContext": context,
    }
    for request in (listed, encrypt, decrypt):
        assert request.headers["authorization"].startswith(
            "AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/"
        )
        assert "/eu-central-1/kms/" in request.headers["authorization"]
        assert SECRET not in str(request)


ANSWERS: list[tuple[int, str, type[FedEnclaveError]]] = [
    (400, "AccessDeniedException", NotAllowed),
    (400, "NotFoundException", NoSuchKey),
    (400, "InvalidCiphertextException", CannotUnwrap),
    (400, "IncorrectKeyException", CannotUnwrap),
    (400, "KMSInvalidStateException", KeyDestroyed),
    (400, "DisabledException", KeysRefused),
    (400, "ThrottlingException", Unreachable),
    (400, "ExpiredTokenException", NotAllowed),
    (500, "KMSInternalException", Unreachable),
    (400, "SomethingNew", KeysRefused),
]


@pytest.mark.parametrize(("status", "code", "error"), ANSWERS)
def test_every_answer_but_the_right_one_is_an_error_and_a_hint(
    faked: KeyProvider,
    fake: FakeService,
    audit: Path,
    status: int,
    code: str,
    error: type[FedEnclaveError],
) -> None:
    wrapped = faked.wrap(DATA_KEY, "node", **USE)
    fake.answers["Decrypt"] = (status, {"__type": code, "message": "no"})  # type: ignore[attr-defined]
    with pytest.raises(error, match=f"cannot unwrap .*{code}: no") as refused:
        faked.unwrap(wrapped, **USE)
    assert type(refused.value) is error
    assert refused.value.hint
    assert read_events(audit)[-1]["event"] == "unwrap-refused"


def test_an_answer_of_another_key_is_not_trusted(faked: KeyProvider, fake: FakeService) -> None:
    wrapped = faked.wrap(DATA_KEY, "node", **USE)
    other = KMS_KEY.replace("1111-", "9999-")
    plain = {"KeyId": other, "Plaintext": "AAAA"}
    fake.answers["Decrypt"] = (200, plain)  # type: ignore[attr-defined]
    with pytest.raises(AnswerNotTrusted, match="want arn:aws:kms"):
        faked.unwrap(wrapped, **USE)
    strange = {"KeyId": KMS_KEY.replace("123456789012", "210987654321"), "CiphertextBlob": "AAAA"}
    fake.answers["Encrypt"] = (200, strange)  # type: ignore[attr-defined]
    with pytest.raises(CannotUnwrap, match="210987654321"):
        faked.wrap(DATA_KEY, "node", **USE)


def test_a_key_that_is_listed_only_later_is_made_all_the_same(
    faked: KeyProvider, fake: FakeService
) -> None:
    fake.answers["ListAliases"] = (200, {"Aliases": []})  # type: ignore[attr-defined]
    fake.answers["CreateKey"] = (200, {"KeyMetadata": {"KeyId": "made"}})  # type: ignore[attr-defined]
    fake.answers["CreateAlias"] = (200, {})  # type: ignore[attr-defined]
    assert faked.create("node").version == 1


@pytest.mark.parametrize("step", ["ListAliases", "Encrypt", "Decrypt"])
def test_an_answer_of_another_shape_is_an_error(
    faked: KeyProvider, fake: FakeService, step: str
) -> None:
    wrapped = faked.wrap(DATA_KEY, "node", **USE)
    fake.answers[step] = (200, {"Aliases": [{}]})  # type: ignore[attr-defined]
    with pytest.raises(AnswerNotTrusted, match="the answer is none of KMS'"):
        faked.unwrap(wrapped, **USE) if step == "Decrypt" else faked.wrap(DATA_KEY, "node", **USE)


def test_an_alias_that_cannot_be_made_takes_its_key_back(
    faked: KeyProvider, fake: FakeService
) -> None:
    fake.answers["CreateKey"] = (200, {"KeyMetadata": {"KeyId": "made"}})  # type: ignore[attr-defined]
    fake.answers["CreateAlias"] = (400, {"__type": "AlreadyExistsException"})  # type: ignore[attr-defined]
    fake.answers["ListAliases"] = (200, {"Aliases": []})  # type: ignore[attr-defined]
    scheduled = {"KeyId": "made", "DeletionDate": 2_000_000_000}
    fake.answers["ScheduleKeyDeletion"] = (200, scheduled)  # type: ignore[attr-defined]
    with pytest.raises(KeysRefused, match="the KMS key made was scheduled for deletion"):
        faked.create("node")
    assert fake.requests[-1].body == {"KeyId": "made", "PendingWindowInDays": 7}


def test_a_service_that_hangs_is_waited_for_no_longer_than_is_said(
    fake: FakeService, audit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedenclave.keys.aws_kms._SECONDS", 0.2)
    fake.failures["/"] = HANG
    keys = open_keys(f"aws-kms:{ACCOUNT}", Access(passphrase=lambda _: b"", audit=audit)).provider
    with pytest.raises(Unreachable, match="ReadTimeout"):
        keys.wrap(DATA_KEY, "node", **USE)


def test_nobody_at_the_endpoint_is_an_error(
    credentials: None, audit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:9")
    keys = open_keys(f"aws-kms:{ACCOUNT}", Access(passphrase=lambda _: b"", audit=audit)).provider
    with pytest.raises(Unreachable, match="no answer"):
        keys.wrap(DATA_KEY, "node", **USE)


def test_no_credentials_are_an_error(
    credentials: None, audit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    keys = open_keys(f"aws-kms:{ACCOUNT}", Access(passphrase=lambda _: b"", audit=audit)).provider
    with pytest.raises(ConfigurationError, match="no AWS credentials"):
        keys.wrap(DATA_KEY, "node", **USE)


@pytest.mark.parametrize(
    "arn", ["node", "arn:aws:kms:eu:1:alias/a", f"{ACCOUNT}:key/1111", f"{ACCOUNT}:alias/"]
)
def test_what_names_no_account_or_alias_is_refused(arn: str, audit: Path) -> None:
    with pytest.raises(ConfigurationError, match="names no account, or no alias") as refused:
        open_keys(f"aws-kms:{arn}", Access(passphrase=lambda _: b"", audit=audit))
    assert "alias/node" in refused.value.hint
