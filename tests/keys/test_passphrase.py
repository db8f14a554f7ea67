"""A passphrase comes from a file that nobody else can read."""

import os
from pathlib import Path

import pytest

from fedenclave.keys.passphrase import read_passphrase
from fedenclave.protocol.errors import ConfigurationError


def written(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("data", [b"pass word", b"pass word\n", b"pass word\r\n"])
def test_one_line_end_is_not_part_of_it(tmp_path: Path, data: bytes) -> None:
    assert read_passphrase(written(tmp_path / "p", data)) == b"pass word"


def test_only_one_line_end_is_taken_off(tmp_path: Path) -> None:
    assert read_passphrase(written(tmp_path / "p", b" a\n\n", 0o400)) == b" a\n"


@pytest.mark.parametrize("data", [b"", b"\n"])
def test_an_empty_one_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ConfigurationError, match="is empty"):
        read_passphrase(written(tmp_path / "p", data))


def test_a_file_that_is_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="more than 4096 bytes"):
        read_passphrase(written(tmp_path / "p", b"x" * 5000))


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ConfigurationError, match="want 0600 or 0400"):
        read_passphrase(written(tmp_path / "p", b"x", mode))


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        read_passphrase(tmp_path / "p")


def test_a_pipe_is_read(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.write(write, b"from a pipe\n")
    os.close(write)
    assert read_passphrase(Path(f"/dev/fd/{read}")) == b"from a pipe"
    os.close(read)
