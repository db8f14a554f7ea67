"""A passphrase that systemd hands to a service is read, and nothing else becomes readable by it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedenclave.keys.passphrase import read_passphrase
from fedenclave.protocol.errors import ConfigurationError


@pytest.fixture
def credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "credentials"
    folder.mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    return folder


def secret(path: Path, mode: int) -> Path:
    path.write_bytes(b"hunter2\n")
    path.chmod(mode)
    return path


def test_a_credential_of_the_mode_that_systemd_gives_is_read(credentials: Path) -> None:
    assert read_passphrase(secret(credentials / "fedenclave-passphrase", 0o440)) == b"hunter2"


@pytest.mark.parametrize("mode", [0o444, 0o460, 0o450, 0o441])
def test_a_credential_that_others_could_read_or_change_is_not(credentials: Path, mode: int) -> None:
    with pytest.raises(ConfigurationError, match="mode"):
        read_passphrase(secret(credentials / "fedenclave-passphrase", mode))


def test_the_same_mode_elsewhere_is_refused(credentials: Path, tmp_path: Path) -> None:
    outside = secret(tmp_path / "passphrase", 0o440)
    (credentials / "link").symlink_to(outside)
    (credentials / "deeper").mkdir()
    for path in (
        outside,
        credentials / "link",
        credentials / ".." / "passphrase",
        secret(credentials / "deeper" / "passphrase", 0o440),
    ):
        with pytest.raises(ConfigurationError, match="mode 0440") as refused:
            read_passphrase(path)
        assert "hunter2" not in str(refused.value)


def test_without_the_variable_no_folder_is_one_of_credentials(
    credentials: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = secret(credentials / "fedenclave-passphrase", 0o440)
    for value in (None, "", "."):
        if value is None:
            monkeypatch.delenv("CREDENTIALS_DIRECTORY")
        else:
            monkeypatch.setenv("CREDENTIALS_DIRECTORY", value)
        with pytest.raises(ConfigurationError, match="mode 0440"):
            read_passphrase(path)
