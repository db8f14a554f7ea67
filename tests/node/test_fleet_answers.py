"""T12: nothing that a SuperLink answers stops a node, fills its memory or sends it elsewhere."""

from __future__ import annotations

import asyncio
import io
import logging
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytest.importorskip("flwr", reason="flwr is not installed: pip install 'fedenclave[flower]'")

import httpx
from flwr.proto import fab_pb2, fleet_pb2, message_pb2, run_pb2
from flwr.supercore.constant import TASK_TOKEN_HEADER
from flwr.supernode.fleet_http_client import FleetHttpClient

from fedenclave.node import fleet_answers
from fedenclave.node.bundle import MAX_BYTES, MAX_PROJECT, fab_hash, read_bundle
from fedenclave.node.flower_log import OneLine
from fedenclave.node.line_limit import LINES_AN_HOUR, LINES_AT_ONCE, LineLimit
from fedenclave.node.runtime_admission import WITHOUT_TOKEN, Admission, Event, Receive, Scope, Send
from fedenclave.node.watchdog import PATIENCE_S, Watchdog
from fedenclave.protocol.errors import ConfigurationError, MalformedMessage
from tests.node import apps

NODE = 7
IDENTIFIER = "ab" * 32


def pulled() -> fleet_pb2.PullMessagesResponse:
    message = message_pb2.Message()
    told = message.metadata
    told.message_id, told.dst_node_id, told.run_id = IDENTIFIER, NODE, 1
    told.ttl, told.created_at, told.group_id, told.message_type = 600.0, 1e9, "1", "train"
    tree = message_pb2.ObjectTree(object_id=IDENTIFIER)
    return fleet_pb2.PullMessagesResponse(messages_list=[message], message_object_trees=[tree])


def test_a_message_as_flower_sends_it_is_taken() -> None:
    fleet_answers.check_pulled(pulled(), NODE)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("message_id", ""),
        ("message_id", "cd" * 32),
        ("message_id", IDENTIFIER.upper()),
        ("reply_to_message_id", IDENTIFIER),
        ("dst_node_id", 8),
        ("ttl", -1.0),
        ("ttl", float("nan")),
        ("created_at", float("inf")),
        ("group_id", "Z" * 101),
        ("group_id", "1\nerror: forged"),
        ("message_type", "x" * 101),
    ],
)
def test_a_message_whose_reply_cannot_come_is_refused(field: str, value: object) -> None:
    answer = pulled()
    setattr(answer.messages_list[0].metadata, field, value)
    with pytest.raises(MalformedMessage):
        fleet_answers.check_pulled(answer, NODE)


def test_messages_without_their_trees_are_refused() -> None:
    answer = pulled()
    del answer.message_object_trees[:]
    with pytest.raises(MalformedMessage, match="1 messages with 0 trees"):
        fleet_answers.check_pulled(answer, NODE)


def test_another_run_and_another_app_than_asked_for_are_refused() -> None:
    asked = run_pb2.GetRunRequest(run_id=1)
    fleet_answers.check_run(run_pb2.GetRunResponse(run=run_pb2.Run(run_id=1)), asked)
    with pytest.raises(MalformedMessage, match="run 2 came, want 1"):
        fleet_answers.check_run(run_pb2.GetRunResponse(run=run_pb2.Run(run_id=2)), asked)
    wanted = fab_pb2.GetFabRequest(hash_str=fab_hash(b"app"))

    def came(content: bytes) -> fab_pb2.GetFabResponse:
        return fab_pb2.GetFabResponse(fab=fab_pb2.Fab(content=content, hash_str=wanted.hash_str))

    fleet_answers.check_app(came(b"app"), wanted)
    with pytest.raises(MalformedMessage, match="another app"):
        fleet_answers.check_app(came(b"other"), wanted)
    with pytest.raises(MalformedMessage, match="want at most"):
        fleet_answers.check_app(came(bytes(MAX_BYTES + 1)), wanted)


@contextmanager
def superlink(headers: dict[str, str], content: bytes, status: int = 200) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", "0")))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def ask(address: str) -> None:
    with FleetHttpClient.from_server_address(address, True, None, []) as client:
        fleet_answers.bind(client)
        client.PullMessages(fleet_pb2.PullMessagesRequest())


def test_no_redirect_of_a_superlinks_is_followed() -> None:
    with (
        superlink({}, b"", 500) as inside,
        superlink({"location": f"http://{inside}/x"}, b"", 307) as address,
        pytest.raises(httpx.HTTPStatusError, match="307"),
    ):
        ask(address)


@pytest.mark.parametrize(
    ("headers", "what"),
    [
        ({"content-encoding": "gzip"}, "is compressed"),
        ({"content-length": str(fleet_answers.LONGEST_ANSWER + 1)}, "announces an answer"),
        ({}, "over 100 bytes"),
    ],
)
def test_an_answer_without_a_bound_is_not_read(
    headers: dict[str, str], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not headers:
        monkeypatch.setattr(fleet_answers, "LONGEST_ANSWER", 100)
    with superlink(headers, bytes(200)) as address, pytest.raises(MalformedMessage, match=what):
        ask(address)


PROGRAM = """
import threading, time
from fedenclave.node import supernode
import flwr.supernode.cli as cli

def runs():
    {how}
    time.sleep(60)

cli.flower_supernode = runs
supernode.main()
"""


def run(how: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM.format(how=how)]
    return subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)


def test_a_supernode_ends_with_any_of_its_threads() -> None:
    done = run("threading.Thread(target=lambda: int('what a SuperLink says')).start()")
    assert done.returncode == 1
    assert done.stderr == "error: a thread of the SuperNode failed: ValueError\n"


@pytest.mark.parametrize("busy", [False, True])
def test_a_supernode_that_asks_for_nothing_is_ended_unless_an_app_is_at_work(busy: bool) -> None:
    ended: list[str] = []
    now = [0.0]
    watchdog = Watchdog(lambda: busy, ended.append, lambda: now[0])
    now[0] = PATIENCE_S - 1
    watchdog.alive()
    now[0] = 2 * PATIENCE_S - 2
    watchdog.look()
    assert not ended
    now[0] = 3 * PATIENCE_S
    watchdog.look()
    assert bool(ended) is not busy


def test_everything_of_flowers_is_bound_in_a_supernode() -> None:
    code = (
        "import importlib, sys\n"
        "    client = importlib.import_module('flwr.supernode.fleet_http_client').FleetHttpClient\n"
        "    made = client.from_server_address('127.0.0.1:9', True, None, [])\n"
        "    assert made._client.follow_redirects is False\n"
        "    assert made._client.event_hooks['response']\n"
        "    assert client.PullMessages.__module__ == 'fedenclave.node.fleet_answers'\n"
        "    server = importlib.import_module('flwr.supernode.main')\n"
        "    from flwr.supercore.object_store import ObjectStoreFactory\n"
        "    from flwr.supernode.nodestate import NodeStateFactory\n"
        "    states = NodeStateFactory(ObjectStoreFactory())\n"
        "    application = server.create_app(state_factory=states, superexec_auth_secret=b'x')\n"
        "    assert type(application).__name__ == 'Admission'\n"
        "    loop = importlib.import_module('flwr.supernode.start_client_internal')\n"
        "    assert loop.get_fused_config_from_fab(b'no archive', None) == {}\n"
        "    raise SystemExit(7)"
    )
    done = run(code)
    assert (done.returncode, done.stderr) == (7, "")


def test_a_project_file_that_inflates_is_not_read() -> None:
    buffer = io.BytesIO()
    files = {**apps.files(), "pyproject.toml": b"#" * (MAX_PROJECT + 1)}
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        listed = "\n".join(
            f"{name},{fab_hash(content)},{len(content) * 8}" for name, content in files.items()
        )
        archive.writestr(".info/CONTENT", listed)
    with pytest.raises(ConfigurationError, match=r"pyproject\.toml has more than"):
        read_bundle(buffer.getvalue())


def admitted(headers: dict[str, str], events: list[Event]) -> tuple[list[bytes], int, int]:
    """Return the bodies that Flower would see, the status, and how many events were read."""
    seen: list[bytes] = []
    sent: list[Event] = []
    waiting = list(events)

    async def flower(_scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while True:
            event = await receive()
            body += event.get("body", b"")
            if not event.get("more_body", False):
                break
        seen.append(body)
        await send({"type": "http.response.start", "status": 200})

    async def receive() -> Event:
        return waiting.pop(0)

    async def send(event: Event) -> None:
        sent.append(event)

    scope = {
        "type": "http",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    asyncio.run(Admission(flower, lambda token: token == "right")(scope, receive, send))
    return seen, sent[0]["status"], len(events) - len(waiting)


def parts(size: int, count: int) -> list[Event]:
    return [
        {"type": "http.request", "body": bytes(size), "more_body": number < count - 1}
        for number in range(count)
    ]


def test_who_has_no_token_is_read_a_little_of() -> None:
    assert admitted({}, parts(100, 2)) == ([bytes(200)], 200, 2)
    long = {"content-length": str(400 << 20)}
    assert admitted(long, parts(1 << 20, 400)) == ([], 413, 0)
    assert admitted({"content-length": "-1"}, parts(1, 1)) == ([], 413, 0)
    seen, status, read = admitted({TASK_TOKEN_HEADER: "wrong"}, parts(WITHOUT_TOKEN // 2, 400))
    assert (seen, status, read) == ([], 413, 3)


def test_who_has_a_token_is_read_whole() -> None:
    content = parts(WITHOUT_TOKEN, 4)
    seen, status, read = admitted({TASK_TOKEN_HEADER: "right"}, content)
    assert (len(seen[0]), status, read) == (4 * WITHOUT_TOKEN, 200, 4)


@pytest.mark.parametrize(
    "write",
    [
        lambda log: log.error("[RUN %s, ROUND %s]", 1, ("Z" * 90 + "\n") * 2000),
        lambda log: log.error(ValueError("x\ny" * 2000)),
        lambda log: log.error("%d", "no number"),
    ],
)
def test_a_record_of_flowers_is_one_short_line(write: Callable[[logging.Logger], None]) -> None:
    output = io.StringIO()
    log = logging.Logger("a")
    handler = logging.StreamHandler(output)
    handler.addFilter(OneLine())
    log.addHandler(handler)
    write(log)
    (line,) = output.getvalue().splitlines()
    assert 0 < len(line) <= 200


def test_a_flood_of_lines_is_counted_and_leaves_room_for_later_ones() -> None:
    now = [0.0]
    limit = LineLimit(lambda: now[0])
    assert sum(limit.admit() for _ in range(100_000)) == LINES_AT_ONCE
    assert limit.take_passed_over() == 100_000 - LINES_AT_ONCE
    assert limit.take_passed_over() == 0
    now[0] = 3600 / LINES_AN_HOUR + 1e-6
    assert [limit.admit(), limit.admit()] == [True, False]
    now[0] = 1e9
    assert sum(limit.admit() for _ in range(1000)) == LINES_AT_ONCE


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's limits")
def test_a_program_may_map_as_much_memory_as_it_was_given() -> None:
    code = (
        "import os, sys\n"
        "from fedenclave.node.bound import bound\n"
        "program = 'bytearray(200 << 20); print(\"small\"); bytearray(3 << 30)'\n"
        "command = bound([sys.executable, '-c', program], os.getpid(), memory=2 << 30)\n"
        "import subprocess; sys.exit(subprocess.run(command).returncode)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 1
    assert done.stdout == "small\n"
    assert done.stderr.endswith("MemoryError\n")
