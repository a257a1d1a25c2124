"""Clients that send or read slowly, or not at all: none keeps a connection for ever."""

import json
import socket
import time
from pathlib import Path

import pytest

from tests.support.running.api_keys import entries
from tests.support.running.servers import SHORT_TIMEOUT, RunningService
from tests.support.running.service_fixtures import Published, StartService
from tests.support.waiting import DEADLINE, wait_until

pytestmark = pytest.mark.slow

READ_SECONDS = 2.0
"""A request's time limit, s, in tests in which a busy machine must not reach it."""


@pytest.fixture
def keyed_service(start: StartService, tmp_path: Path) -> RunningService:
    """A service with keys that waits for its clients for SHORT_TIMEOUT."""
    keys = tmp_path / "keys.json"
    keys.write_text(entries("reader"))
    return start(request_timeout=SHORT_TIMEOUT, keys=keys)


def connect(service: RunningService, **options: int) -> socket.socket:
    connection = socket.socket()
    for name, value in options.items():
        connection.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
    connection.settimeout(DEADLINE)
    connection.connect(("127.0.0.1", service.port))
    return connection


def is_open_at(service: RunningService, connection: socket.socket) -> bool:
    """True if the service has not closed its side; the client may still have to read."""
    port = connection.getsockname()[1]
    sides = [line.split()[1:4] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    mine = f":{service.port:04X}", f":{port:04X}"
    return any((a[-5:], b[-5:], state) == (*mine, "01") for a, b, state in sides)


def read_until(connection: socket.socket, end: bytes) -> bytes:
    received = b""
    while end not in received:
        data = connection.recv(1000)
        assert data, f"closed after {received!r}"
        received += data
    return received


def drip(connection: socket.socket, piece: bytes) -> bytes:
    """Send a piece again and again until the service closes; what was received."""
    received = b""
    connection.settimeout(0.1)
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        try:
            connection.sendall(piece)
            data = connection.recv(65_536)
        except TimeoutError:
            continue
        except ConnectionError:
            return received
        if not data:
            return received
        received += data
    raise AssertionError(f"still open after {DEADLINE} s: {received!r}")


HEALTHZ = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
HEAD = b"POST /recommend HTTP/1.1\r\nHost: x\r\n"
LENGTH = b"Content-Length: 100000\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"


@pytest.mark.parametrize(
    ("sent", "piece"), [(LENGTH, b" "), (LENGTH, b""), (CHUNKED, b"1\r\n \r\n")]
)
def test_a_body_that_takes_too_long_gets_408(
    start: StartService, sent: bytes, piece: bytes
) -> None:
    service = start(request_timeout=SHORT_TIMEOUT)
    with connect(service) as connection:
        connection.sendall(HEAD + sent)
        answer = drip(connection, piece)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in answer.lower()
    assert json.loads(answer.split(b"\r\n\r\n")[1])["error"]["code"] == "body_timeout"
    wait_until(lambda: service.metric("request_seconds_count", status="408") == 1, "its metric")
    wait_until(lambda: service.metric("requests_in_flight") == 1, "its end")


@pytest.mark.parametrize(
    ("sent", "piece", "answered"),
    [
        (b"", b"", b""),
        (b"", b"\r\n", b""),
        (HEALTHZ + b"\r\n", b"\r\n", b"HTTP/1.1 200 "),
        # Answered before its body is there.
        (HEAD + LENGTH, b" ", b"HTTP/1.1 401 "),
        (HEALTHZ + LENGTH, b" ", b"HTTP/1.1 200 "),
    ],
)
def test_connections_without_a_whole_request_are_closed(
    keyed_service: RunningService, sent: bytes, piece: bytes, answered: bytes
) -> None:
    with connect(keyed_service) as connection:
        connection.sendall(sent)
        answer = drip(connection, piece)
    assert answer.startswith(answered)
    assert bool(answer) == bool(answered)


@pytest.mark.parametrize(
    ("sent", "piece"),
    [
        (b"GET /healthz HT", b""),
        (b"GET /healthz HTTP/1.1\r\nX: ", b"x"),
        (HEALTHZ + b"\r\nGET /", b"x"),
        (HEALTHZ + b"\r\n" + HEALTHZ, b"a: b\r\n"),
    ],
)
def test_a_head_that_takes_too_long_gets_408(
    keyed_service: RunningService, sent: bytes, piece: bytes
) -> None:
    with connect(keyed_service) as connection:
        connection.sendall(sent)
        *before, head, body = drip(connection, piece).split(b"\r\n\r\n")
    assert len(before) == sent.count(b"\r\n\r\n")
    assert b"HTTP/1.1 408 " in head
    assert b"connection: close" in head.lower()
    error = json.loads(body)["error"]
    assert error["code"] == "head_timeout"
    assert error["request_id"].encode() in head


def test_the_size_of_a_head_is_limited(service: RunningService) -> None:
    for sent in (b"GET /", b"GET / HTTP/1.1\r\nX: ", b"GET / HTTP/1.1\r\n"):
        with connect(service) as connection:
            connection.sendall(sent)
            received = b""
            try:
                for _ in range(10_000):
                    connection.sendall(b"x" * 500 if sent[-1:] != b"\n" else b"a: b\r\n" * 80)
                raise AssertionError("a head of megabytes is accepted")
            except ConnectionError:
                pass
            try:
                received = connection.recv(1000)
            except ConnectionError:
                continue
            assert received.startswith(b"HTTP/1.1 431 ") or not received


def test_a_connection_may_pause_between_requests(start: StartService) -> None:
    """Longer than a request may take, and shorter than the 5 s after which uvicorn closes."""
    with connect(start(request_timeout=READ_SECONDS)) as connection:
        for _ in range(2):
            connection.sendall(HEALTHZ + b"\r\n")
            read_until(connection, b'{"status":"alive"}')
            time.sleep(READ_SECONDS * 1.1)
        for piece in (b"GET /hea", b"lthz HT", b"TP/1.1\r\nHost: x\r\n\r\n"):
            connection.sendall(piece)
            time.sleep(READ_SECONDS / 50)
        read_until(connection, b'{"status":"alive"}')


def large_request(published: Published) -> bytes:
    """A request whose answer has megabytes."""
    body = json.dumps({"users": published.known[:330], "k": 300, "exclude_seen": False}).encode()
    return HEAD + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def test_a_client_that_does_not_read_is_cut_off(start: StartService, published: Published) -> None:
    service = start(request_timeout=READ_SECONDS)
    with connect(service, SO_RCVBUF=4096) as connection:
        connection.sendall(large_request(published))
        wait_until(lambda: not is_open_at(service, connection), "the end of the connection")
        received = b""
        try:
            while data := connection.recv(65_536):
                received += data
        except ConnectionError:
            pass
    if received:
        head, _, body = received.partition(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        assert length > 1_000_000
        assert len(body) < length  # the connection was broken off


def test_a_client_that_reads_slowly_gets_everything(
    start: StartService, published: Published
) -> None:
    """It reads for three times as long as a pause may be, in sixty pieces."""
    service = start(request_timeout=READ_SECONDS)
    with connect(service, SO_RCVBUF=65_536) as connection:
        connection.sendall(large_request(published))
        started = time.monotonic()
        head, _, body = read_until(connection, b"\r\n\r\n").partition(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        while len(body) < length:
            piece_end = len(body) + length // 60
            while len(body) < min(piece_end, length):
                data = connection.recv(65_536)
                assert data, f"closed after {len(body)} of {length} bytes"
                body += data
            time.sleep(READ_SECONDS / 20)
    assert len(json.loads(body)["results"]) == 330
    assert time.monotonic() - started > READ_SECONDS * 2
