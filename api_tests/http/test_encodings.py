"""Bodies with a Content-Encoding: decoded within the limit, or refused."""

import gzip
import json
import zlib

import httpx
import pytest

from tests.support.running.servers import RunningService
from tests.support.running.service_fixtures import StartService

USERS = json.dumps({"users": ["user-1"], "k": 1}).encode()


def encoded(
    service: RunningService, body: bytes, encoding: str, path: str = "/recommend"
) -> httpx.Response:
    headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
    return service.post(path, content=body, headers=headers)


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(USERS, mtime=0)),
        ("x-gzip", gzip.compress(USERS, mtime=0)),
        ("GZip", gzip.compress(USERS, mtime=0)),
        ("deflate", zlib.compress(USERS)),
        ("identity", USERS),
        ("", USERS),
    ],
)
def test_encoded_bodies_are_decoded(service: RunningService, encoding: str, body: bytes) -> None:
    response = encoded(service, body, encoding)
    assert response.status_code == 200, response.text
    assert response.json()["results"][0]["user_id"] == "user-1"


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "gzip, br", "none", "x" * 5000])
def test_other_encodings_get_415(service: RunningService, encoding: str) -> None:
    response = encoded(service, USERS, encoding)
    assert response.status_code == 415
    assert response.headers["accept-encoding"] == "gzip, deflate"
    error = response.json()["error"]
    assert error["code"] == "unsupported_encoding"
    assert error["message"].startswith("Content-Encoding: ")
    assert len(error["message"]) < 200


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", USERS),
        ("gzip", b""),
        ("gzip", gzip.compress(USERS, mtime=0)[:-1]),
        ("gzip", gzip.compress(USERS, mtime=0) + b"x"),
        ("gzip", gzip.compress(USERS, mtime=0) * 2),
        ("gzip", gzip.compress(USERS, mtime=0)[:-8] + bytes(8)),
        ("deflate", gzip.compress(USERS, mtime=0)),
        ("deflate", zlib.compress(USERS)[:-1]),
    ],
)
def test_damaged_encodings_are_refused(service: RunningService, encoding: str, body: bytes) -> None:
    response = encoded(service, body, encoding)
    assert response.status_code == 422
    assert response.json()["error"]["message"].startswith("body: ")


def test_the_limit_of_a_body_is_that_of_the_decoded_one(start: StartService) -> None:
    limit = 50_000
    service = start(max_body=limit)
    padding = b" " * (limit - len(USERS))
    assert encoded(service, gzip.compress(USERS + padding, mtime=0), "gzip").status_code == 200
    for bomb in (USERS + padding + b" ", USERS + b" " * 50_000_000):
        for path in ("/recommend", "/events", "/recommend/items"):
            response = encoded(service, gzip.compress(bomb), "gzip", path)
            assert (response.status_code, response.json()["error"]["code"]) == (
                413,
                "body_too_large",
            )
    # Blocks without content: nothing is ever decoded.
    packer = zlib.compressobj(wbits=31)
    empty = b"".join(packer.flush(zlib.Z_FULL_FLUSH) + packer.compress(b"") for _ in range(10))
    response = encoded(service, empty + b"\0\0\0\xff\xff" * limit, "gzip")
    assert response.status_code == 413
