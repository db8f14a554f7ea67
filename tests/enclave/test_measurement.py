"""The development measurement: every loadable file and every version is in it, and nothing else."""

import json
import os
import py_compile
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fedenclave
from fedenclave.enclave.measured import read_measured_code
from fedenclave.host.enclave_process import EnclaveDied, measure_enclave
from fedenclave.protocol.digests import to_text
from fedenclave.protocol.measurement import DEPENDENCIES, measured_code

PACKAGE = Path(fedenclave.__file__).parent
FILES = {"enclave/a.py": b"a", "enclave/b.py": b"b", "protocol/a.py": b"c"}
VERSIONS = {"numpy": "2.0", "python": "3.12.0"}


def test_the_same_files_and_versions_measure_the_same_in_any_order() -> None:
    first = measured_code(FILES, VERSIONS)
    again = measured_code(dict(reversed(FILES.items())), dict(reversed(VERSIONS.items())))
    assert first == again
    assert first.measurement == again.measurement


@given(st.sampled_from(sorted(FILES)), st.binary(max_size=4), st.text("0123456789.", max_size=4))
def test_a_changed_line_and_a_changed_version_change_it(
    path: str, content: bytes, version: str
) -> None:
    reference = measured_code(FILES, VERSIONS).measurement
    changed = measured_code({**FILES, path: content}, VERSIONS).measurement
    assert (changed == reference) == (content == FILES[path])
    for name, old in VERSIONS.items():
        other = measured_code(FILES, {**VERSIONS, name: version}).measurement
        assert (other == reference) == (version == old)


def test_an_added_a_missing_and_a_moved_file_change_it() -> None:
    without = {path: data for path, data in FILES.items() if path != "enclave/a.py"}
    variants = [
        FILES,
        without,
        {**FILES, "enclave/c.py": b""},
        {**without, "enclave/z.py": b"a"},
        {**FILES, "enclave/a.py": b"b", "enclave/b.py": b"a"},
    ]
    measurements = {measured_code(files, VERSIONS).measurement for files in variants}
    assert len(measurements) == len(variants)


def test_everything_the_enclave_may_load_is_measured() -> None:
    code = read_measured_code()
    names = {file.path for file in code.files}
    for folder in ("enclave", "protocol"):
        on_disk = {p.relative_to(PACKAGE).as_posix() for p in (PACKAGE / folder).rglob("*.py")}
        assert on_disk <= names
    assert "__init__.py" in names
    assert not any(name.startswith(("client", "host", "audit")) for name in names)
    assert [version.name for version in code.versions] == sorted([*DEPENDENCIES, "python"])


Change = Callable[[Path], object]
CHANGES: dict[str, Change] = {
    "a changed line": lambda p: (p / "enclave/states.py").write_text("# nothing\n"),
    "an added space": lambda p: (p / "protocol/merkle.py").write_bytes(
        (p / "protocol/merkle.py").read_bytes() + b" "
    ),
    "an added module": lambda p: (p / "protocol/extra.py").write_text(""),
    "an added library": lambda p: (p / "protocol/codec.abi3.so").write_bytes(b""),
    "an added library of the package": lambda p: (p / "__init__.abi3.so").write_bytes(b""),
    "an added folder": lambda p: (
        (p / "enclave/sub").mkdir(),
        (p / "enclave/sub/x.py").write_text(""),
    ),
    "a missing file": lambda p: (p / "enclave/log.py").unlink(),
}
NO_CHANGES: dict[str, Change] = {
    "nothing": lambda p: None,
    "a cache": lambda p: (
        (p / "enclave/__pycache__").mkdir(),
        (p / "enclave/__pycache__/log.cpython-311.pyc").write_bytes(b"planted"),
    ),
    "a text": lambda p: (p / "enclave/NOTES.md").write_text(""),
    "another package": lambda p: ((p / "host").mkdir(), (p / "host/x.py").write_text("")),
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package that is measured in place of the running one."""
    copy = tmp_path / "fedenclave"
    for part in ("enclave", "protocol"):
        shutil.copytree(PACKAGE / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PACKAGE / "__init__.py", copy)
    monkeypatch.setattr(fedenclave, "__file__", str(copy / "__init__.py"))
    return copy


@pytest.mark.parametrize("name", [*CHANGES, *NO_CHANGES])
def test_on_disk_what_can_be_loaded_counts_and_what_cannot_does_not(
    package: Path, name: str
) -> None:
    before = read_measured_code().measurement
    {**CHANGES, **NO_CHANGES}[name](package)
    assert (read_measured_code().measurement == before) == (name in NO_CHANGES)


def test_a_fresh_process_measures_what_this_one_does() -> None:
    report = json.loads(measure_enclave())
    code = read_measured_code()
    assert report["measurement"] == to_text(code.measurement)
    assert report["files"] == {file.path: to_text(file.digest) for file in code.files}


def test_a_link_among_the_measured_files_is_refused(tmp_path: Path) -> None:
    """A linked folder beside `mean.py` would be loaded in its place, and not be listed."""
    package = Path(fedenclave.__file__).parent
    copy = tmp_path / "code" / "fedenclave"
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__", "apps"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "__init__.py").write_text("")
    (copy / "enclave" / "mean").symlink_to(elsewhere)
    with pytest.raises(EnclaveDied, match="cannot be measured"):
        measure_enclave(copy.parent)


def test_a_planted_cache_file_does_not_run_in_place_of_the_measured_source(tmp_path: Path) -> None:
    package = Path(fedenclave.__file__).parent
    copy = tmp_path / "code" / "fedenclave"
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__", "apps"))
    stolen, source = tmp_path / "ran", copy / "__init__.py"
    honest = source.read_text()
    times = source.stat()
    source.write_text(f"open({str(stolen)!r}, 'w').close()\n")
    planted = Path(py_compile.compile(str(source), doraise=True))
    # Make the cache fit the honest source: same time, same size in its head.
    source.write_text(honest)
    os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))
    data = bytearray(planted.read_bytes())
    data[8:16] = struct.pack("<II", int(times.st_mtime) & 0xFFFFFFFF, source.stat().st_size)
    planted.write_bytes(data)
    assert json.loads(measure_enclave(copy.parent)) == json.loads(measure_enclave())
    assert not stolen.exists()
