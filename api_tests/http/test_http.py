"""HTTP as clients speak it: offers to upgrade, pipelining, HEAD, and what is refused."""

import json
import re
import socket
from collections.abc import Iterator

import pytest

from service.http.head import MAX_HEAD
from service.http.protocol import PIECE
from service.schemas.errors import ErrorBody
from tests.support.running.servers import RunningService
from tests.support.waiting import DEADLINE

USERS = json.dumps({"users": ["user-1"], "k": 1}).encode()
OFFER = (
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: %b\r\n"
    b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"
)


def exchange(service: RunningService, *pieces: bytes) -> list[tuple[int, bytes]]:
    """Statuses and bodies of the responses until the service closes the connection."""
    return list(responses(received(service, *pieces)))


def received(service: RunningService, *pieces: bytes) -> bytes:
    """Everything that the service sends until it closes the connection.

    The last request of the pieces has to end the connection.
    """
    with socket.create_connection(("127.0.0.1", service.port), DEADLINE) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            connection.sendall(piece)
            if len(pieces) > 1:
                # Another request's answer: what was sent has been received before it.
                service.get("/healthz")
        return b"".join(iter(lambda: connection.recv(65_536), b""))


def responses(sent: bytes) -> Iterator[tuple[int, bytes]]:
    while sent:
        head, _, sent = sent.partition(b"\r\n\r\n")
        assert re.search(rb"\r\nx-request-id: [0-9a-f]{16}", head.lower()), head
        length = int(re.findall(rb"\r\ncontent-length: ([0-9]+)", head.lower())[0])
        yield int(head.split()[1]), sent[:length]
        sent = sent[length:]


def post(path: str, body: bytes, *lines: bytes) -> bytes:
    """A request with a body, by its length unless a line says another."""
    head = [b"POST %b HTTP/1.1" % path.encode(), b"Host: x", b"Content-Type: application/json"]
    if not any(line.startswith(b"Transfer-Encoding") for line in lines):
        head.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*head, *lines, b"", b""]).replace(b"\r\n\r\n\r\n", b"\r\n\r\n") + body


LAST = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize("token", [b"h2c", b"websocket", b"TLS/1.0, HTTP/1.1", b"foo/2"])
def test_offers_to_upgrade_are_ignored(service: RunningService, token: bytes) -> None:
    offer = OFFER % token
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(USERS), USERS)
    offered = [
        b"GET /recommend/user-1?k=1 HTTP/1.1\r\nHost: x\r\n" + offer + b"\r\n",
        post("/recommend", USERS, offer),
        post("/recommend", chunked, b"Transfer-Encoding: chunked", offer),
    ]
    # In one piece, and in pieces that end within heads, between heads and bodies, and in bodies.
    whole = b"".join(offered) + LAST
    first, last = whole.index(USERS), whole.rindex(USERS)
    cuts = [20, 60, first, first + 5, first + len(USERS), last, last + 5, last + len(USERS) + 3]
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, None], strict=True)]
    for sent in ([whole], pieces):
        answers = exchange(service, *sent)
        assert [status for status, _ in answers] == [200] * 4
        assert json.loads(answers[0][1])["user_id"] == "user-1"
        for _, body in answers[1:3]:
            assert [result["user_id"] for result in json.loads(body)["results"]] == ["user-1"]
    assert not service.events("Unsupported upgrade request.")
    assert "uvicorn[standard]" not in service.log.read_text()


def test_a_body_is_never_run_as_a_request(service: RunningService) -> None:
    body = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
    head, _, _ = post("/recommend", body, OFFER % b"h2c").partition(body)
    for sent in ([head + body + LAST], [head, body, LAST]):
        answers = exchange(service, *sent)
        assert [status for status, _ in answers] == [422, 200]
        assert b"JSON" in answers[0][1]


@pytest.mark.parametrize(
    ("request_line", "headers"),
    [
        (b"GET /healthz HTTP/1.1", b""),
        (b"GET /healthz HTTP/1.1", b"Host: x\r\nHost: x\r\n"),
        (b"GET /healthz HTTP/1.0", b"Host: x\r\nHost: y\r\n"),
        (b"GET /healthz HTTP/1.1", b"Host: a b\r\n"),
        (b"GET /healthz HTTP/1.1", b"Host: x/y\r\n"),
        (
            b"GET /healthz HTTP/1.1",
            b"Host: x\r\nUpgrade: h2c\r\nConnection: upgrade\r\nHost: y\r\n",
        ),
        (b"GET /healthz HTTP/2.0", b"Host: x\r\n"),
        (b"GET /healthz HTTP/1.1", b"Host : x\r\n"),
        (b"GET /healthz HTTP/1.1", b"Host: x\r\nX: a\r\n b\r\n"),
        (b"GET /healthz HTTP/1.1", b"Host: x\r\nX: \x00\r\n"),
        (b"GET /\xff HTTP/1.1", b"Host: x\r\n"),
        (b"GET healthz HTTP/1.1", b"Host: x\r\n"),
        (b"CONNECT x:80 HTTP/1.1", b"Host: x\r\n"),
        (b"\x16\x03\x01 hello", b""),
        (b"POST /recommend HTTP/1.1", b"Host: x\r\nTransfer-Encoding: gzip, chunked\r\n"),
        (b"POST /recommend HTTP/1.1", b"Host: x\r\nTransfer-Encoding: chunked, gzip\r\n"),
        (b"POST /recommend HTTP/1.1", b"Host: x\r\nTransfer-Encoding: identity\r\n"),
        (b"POST /recommend HTTP/1.0", b"Transfer-Encoding: chunked\r\n"),
        (
            b"POST /recommend HTTP/1.1",
            b"Host: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        ),
        (
            b"POST /recommend HTTP/1.1",
            b"Host: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        ),
        (b"POST /recommend HTTP/1.1", b"Host: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n"),
        (b"POST /recommend HTTP/1.1", b"Host: x\r\nContent-Length: +3\r\n"),
        (b"POST /recommend HTTP/1.1", b"Host: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
    ],
)
def test_what_is_no_http_gets_400_in_turn(
    service: RunningService, request_line: bytes, headers: bytes
) -> None:
    """After the responses to the requests before, with nothing after it."""
    before = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 3
    wrong = request_line + b"\r\n" + headers + b"\r\n" + b"0\r\n\r\n" + before
    for sent in (wrong, before + wrong):
        answers = exchange(service, sent)
        assert [status for status, _ in answers] == [200] * (len(answers) - 1) + [400]
        assert len(answers) == (4 if sent is not wrong else 1)
        error = ErrorBody.model_validate_json(answers[-1][1]).error
        assert error.code == "malformed_request"
        assert error.request_id
    assert not service.events("request_failed")
    assert service.get("/healthz").status_code == 200


def test_what_http_allows_is_taken(service: RunningService) -> None:
    for head in (
        b"GET /healthz HTTP/1.0\r\n",
        b"GET http://x/healthz HTTP/1.1\r\nHost: [::1]:8000\r\nConnection: close\r\n",
        b"GET /healthz HTTP/1.1\r\nHost:\r\nConnection: close\r\n",
        b"\r\n\r\nGET /healthz HTTP/1.1\r\nhOST: x.y:1\r\nConnection: close\r\n",
    ):
        assert [status for status, _ in exchange(service, head + b"\r\n")] == [200]


def test_a_request_id_is_kept_where_a_head_is_refused(service: RunningService) -> None:
    answer = received(service, b"GET / HTTP/1.1\r\nX-Request-ID: mine\r\n\r\n")
    assert b"\r\nx-request-id: mine\r\n" in answer
    assert b'"request_id":"mine"' in answer


@pytest.mark.parametrize("filler", [b"a: bcd\r\n", b"X-%d: " + b"x" * 500 + b"\r\n", None])
def test_heads_have_one_limit(service: RunningService, filler: bytes | None) -> None:
    """However they are sent: in one piece or in several, alone or behind others."""
    start = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    before = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    for size, expected in ((MAX_HEAD, 200), (MAX_HEAD + 1, 431), (70_000, 431)):
        head = start
        if filler is not None:
            while len(head) < size - 1000:
                head += filler.replace(b"%d", b"1")
        head += b"Y: " + b"y" * (size - len(head) - len(b"Y: \r\n\r\n")) + b"\r\n\r\n"
        assert len(head) == size
        assert [one[0] for one in exchange(service, head)] == [expected]
        assert [one[0] for one in exchange(service, before * 2 + head)] == [200, 200, expected]
        pieces = [head[at : at + 15_000] for at in range(0, size, 15_000)]
        assert [one[0] for one in exchange(service, *pieces)] == [expected]
    assert not service.events("request_failed")


def test_many_requests_in_one_piece_are_all_answered(service: RunningService) -> None:
    one = b"GET /recommend/user-%d?k=1 HTTP/1.1\r\nHost: x\r\n\r\n"
    posted = post("/recommend", USERS)
    requests = [one % (n % 300) if n % 3 else posted for n in range(2000)]
    sent = b"".join(requests)
    assert len(sent) > 2 * 65_536
    answers = exchange(service, sent + LAST)
    assert [status for status, _ in answers] == [200] * 2001
    for number, (_, body) in enumerate(answers[:-1]):
        found = json.loads(body)
        user = found["user_id"] if number % 3 else found["results"][0]["user_id"]
        assert user == (f"user-{number % 300}" if number % 3 else "user-1")
    assert not service.events("request_failed")


@pytest.mark.parametrize("within", [1, 20, len(USERS) - 1])
def test_a_body_that_is_held_behind_other_requests_is_received(
    service: RunningService, within: int
) -> None:
    """The head and some bytes of the body are parsed before requests have to wait, but not all."""
    posted = post("/recommend", USERS)
    before = b"GET /recommend/user-1?k=1 HTTP/1.1\r\nHost: x\r\n%b\r\n"
    bare = len(before % b"")
    length = PIECE - (len(posted) - len(USERS) + within) - 2 * bare
    padded = b"X: %b\r\n" % (b"x" * (length - len(b"X: \r\n")))
    sent = before % padded + before % b"" + posted
    assert len(sent) - len(USERS) + within == PIECE
    assert [status for status, _ in exchange(service, sent + LAST)] == [200] * 4


@pytest.mark.parametrize(
    ("path", "status"),
    [
        *((path, 200) for path in ("/healthz", "/readyz", "/info", "/openapi.json", "/docs")),
        ("/recommend/user-1?k=1", 200),
        ("/nothing", 404),
        ("/recommend/user-1?k=0", 422),
        ("/similar/no-such-item", 404),
        ("/events", 405),
    ],
)
def test_head_is_get_without_a_body(service: RunningService, path: str, status: int) -> None:
    changing = {"date", "x-request-id", "content-length"}
    got, head = service.get(path), service.client.head(path)
    assert (head.status_code, head.content) == (got.status_code, b"")
    assert head.status_code == status
    for name in got.headers.keys() - changing:
        assert head.headers[name] == got.headers[name]
    assert int(head.headers["content-length"]) == len(service.get(path).content)
