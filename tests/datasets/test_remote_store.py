"""A dataset in an object storage: the same promises, in fsspec's memory and in S3.

S3 is moto's server, a process on the loopback; without moto and s3fs those tests skip:
pip install 'moto[server]' s3fs
"""

import json
import multiprocessing
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("fsspec")

from fedenclave.cli.main import run
from fedenclave.datasets.errors import (
    DatasetDamaged,
    DatasetExists,
    DatasetMissing,
    StorageFailed,
)
from fedenclave.datasets.layout import body_name
from fedenclave.datasets.listing import listed
from fedenclave.datasets.locations import store_at, stores_in
from fedenclave.datasets.reader import SealedDataset, open_dataset
from fedenclave.datasets.remote_store import RemoteStore
from fedenclave.datasets.rotate import reencrypt, rewrap
from fedenclave.datasets.source import LocalFiles
from fedenclave.datasets.verify import verify
from fedenclave.datasets.writer import Options, seal
from fedenclave.keys.keyring import Keyring
from tests.datasets.conftest import FILES, OPTIONS
from tests.keys.conftest import PASSPHRASE

# botocore still calls datetime.utcnow in places.
pytestmark = pytest.mark.filterwarnings("default")

HAS_S3 = find_spec("moto") is not None and find_spec("s3fs") is not None


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """Give the address of a server, with the bucket `node`."""
    if not HAS_S3:
        pytest.skip("moto or s3fs is not installed: pip install 'moto[server]' s3fs")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


@pytest.fixture(params=["memory", "s3"])
def base(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "memory":
        return f"memory://node-{time.monotonic_ns()}"
    address: str = request.getfixturevalue("s3")
    import s3fs

    for name, value in (
        ("AWS_ENDPOINT_URL", address),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    bucket = f"node-{time.monotonic_ns()}"
    s3fs.S3FileSystem(skip_instance_cache=True).mkdir(bucket)
    return f"s3://{bucket}/data"


def sealed_to(url: str, plain: Path, ring: Keyring) -> RemoteStore:
    store = RemoteStore(url)
    seal(LocalFiles(plain), store, ring, "node", OPTIONS)
    return store


def whole(store: RemoteStore, ring: Keyring) -> bool:
    with open_dataset(store, ring) as dataset:
        return verify(dataset).problems == [] and all(
            dataset.read(name) == data for name, data in FILES.items()
        )


def test_what_is_sealed_there_is_read_back(base: str, plain: Path, ring: Keyring) -> None:
    store = sealed_to(f"{base}/scans", plain, ring)
    assert whole(store, ring)
    assert len(store.names()) == 3
    with open_dataset(store_at(f"{base}/scans/"), ring) as dataset, dataset.open("c") as stream:
        stream.seek(100)
        assert stream.read(1000) == FILES["c"][100:1100]


def test_datasets_are_listed(base: str, plain: Path, ring: Keyring) -> None:
    assert list(stores_in(base)) == []
    for name in ("b", "a"):
        sealed_to(f"{base}/{name}", plain, ring)
    found = listed(stores_in(base))
    assert [(item.place, item.problem) for item in found] == [(f"{base}/a", ""), (f"{base}/b", "")]
    assert [item.place for item in listed(stores_in(f"{base}/a"))] == [f"{base}/a"]


def test_nothing_is_written_over(base: str, plain: Path, ring: Keyring) -> None:
    store = sealed_to(f"{base}/scans", plain, ring)
    with pytest.raises(DatasetExists):
        sealed_to(f"{base}/scans", plain, ring)
    # Two that seal at once: the second finds the head of the first when it writes its own.
    with pytest.raises(DatasetExists):
        store.put("head", b"another", replace=False)
    assert whole(store, ring)


def test_rotation_works_there(base: str, plain: Path, ring: Keyring) -> None:
    store = sealed_to(f"{base}/scans", plain, ring)
    before = set(store.names())
    rewrap(store, ring, "node")
    assert set(store.names()) == before
    reencrypt(store, ring, "node", OPTIONS)
    assert set(store.names()) & before == {"head"}
    assert len(store.names()) == 3
    assert whole(store, ring)


class _Interrupted(Exception):
    pass


def test_a_seal_that_fails_leaves_nothing(base: str, plain: Path, ring: Keyring) -> None:
    def stop(done: int) -> None:
        raise _Interrupted

    store = RemoteStore(f"{base}/scans")
    options = Options(clock=time.time, progress=stop)
    with pytest.raises(_Interrupted):
        seal(LocalFiles(plain), store, ring, "node", options)
    assert list(store.names()) == []


def test_damage_is_named(base: str, plain: Path, ring: Keyring) -> None:
    store = sealed_to(f"{base}/scans", plain, ring)
    with open_dataset(store, ring) as dataset:
        name = body_name(dataset.head.dataset)
    data = bytearray(store.read(name, 1 << 30))
    data[-1] ^= 1
    store.put(name, bytes(data), replace=True)
    with open_dataset(store, ring) as dataset:
        (problem,) = verify(dataset).problems
        assert "chunk 0 of 1" in problem
    store.put(name, bytes(data[:-1]), replace=True)
    with pytest.raises(DatasetDamaged, match="it was cut off"):
        open_dataset(store, ring)
    store.put("head", b"", replace=True)
    with pytest.raises(DatasetDamaged, match="has 0 bytes"):
        open_dataset(store, ring)
    store.delete("head")
    store.delete("head")
    with pytest.raises(DatasetMissing, match="/scans/head"):
        open_dataset(store, ring)
    (item,) = listed([store])
    assert item.problem.startswith("unfinished")


def _read_all(dataset: SealedDataset, out: "multiprocessing.SimpleQueue[bool]") -> None:
    out.put(all(dataset.read(name) == data for name, data in FILES.items()))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_worker_process_reads_from_s3(
    method: str, request: pytest.FixtureRequest, plain: Path, ring: Keyring, s3: str
) -> None:
    monkeypatch = request.getfixturevalue("monkeypatch")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    import s3fs

    bucket = f"workers-{method}"
    s3fs.S3FileSystem(skip_instance_cache=True).mkdir(bucket)
    store = sealed_to(f"s3://{bucket}/scans", plain, ring)
    context = multiprocessing.get_context(method)
    answers = context.SimpleQueue()
    with open_dataset(store, ring) as dataset:
        process = context.Process(target=_read_all, args=(dataset, answers))
        process.start()
        assert answers.get() is True
        process.join()


def test_a_storage_that_is_not_there_is_an_error(
    monkeypatch: pytest.MonkeyPatch, s3: str, ring: Keyring
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with pytest.raises(DatasetMissing, match="there is no s3://no-such-bucket/x/head"):
        open_dataset(RemoteStore("s3://no-such-bucket/x"), ring)


@pytest.mark.parametrize("url", ["ftp://host/x", "http://host/x", "file:///tmp/x", "nothing://x"])
def test_a_storage_without_atomic_writes_is_refused(url: str) -> None:
    with pytest.raises(StorageFailed, match="want a path or one of s3"):
        store_at(url)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(StorageFailed, match="needs a package that is not installed"):
        store_at("gs://bucket/x")


def test_the_command_line_takes_a_url(
    base: str,
    plain: Path,
    ring: Keyring,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    (tmp_path / "p").write_bytes(PASSPHRASE)
    (tmp_path / "p").chmod(0o600)
    options = ["--keyring", str(ring._path), "--passphrase-file", str(tmp_path / "p")]

    def fedenclave(*words: str) -> bytes:
        monkeypatch.setattr(sys, "argv", ["fedenclave", *words])
        assert run() == 0
        return capfdbinary.readouterr().out

    fedenclave("data", "seal", str(plain), f"{base}/scans", *options)
    (facts,) = json.loads(fedenclave("data", "list", base, "--json"))
    assert facts["place"] == f"{base}/scans"
    assert fedenclave("data", "open", f"{base}/scans", "c", *options) == FILES["c"]
    fedenclave("data", "verify", f"{base}/scans", *options)


def test_an_upload_in_parts_is_whole_or_gone(base: str, tmp_path: Path, ring: Keyring) -> None:
    data = bytes(range(256)) * (36 << 12)  # 36 MiB: more than two parts, and than one read ahead
    (tmp_path / "large").write_bytes(data)
    source, store = LocalFiles(tmp_path / "large"), RemoteStore(f"{base}/large")

    def stop(done: int) -> None:
        if done > len(data) - (4 << 20):
            raise _Interrupted

    with pytest.raises(_Interrupted):
        seal(source, store, ring, "node", Options(clock=time.time, progress=stop))
    assert list(store.names()) == []
    seal(source, store, ring, "node", OPTIONS)
    with open_dataset(store, ring) as dataset:
        assert dataset.read("large") == data
        assert verify(dataset).problems == []
