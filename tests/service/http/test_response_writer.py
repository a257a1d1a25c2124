import asyncio
from typing import cast

from service.http.response_writer import ResponseWriter

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"


class Connection:
    """Transport that notes what is done with it."""

    def __init__(self) -> None:
        self.done: list[bytes | str] = []

    def write(self, data: bytes) -> None:
        self.done.append(data)

    def close(self) -> None:
        self.done.append("closed")


def writer() -> tuple[ResponseWriter, list[bytes | str]]:
    connection = Connection()
    return ResponseWriter(cast(asyncio.Transport, connection)), connection.done


def test_head_and_body_are_one_write() -> None:
    response, done = writer()
    response.write(HEAD)
    assert done == []
    response.write(b"body")
    assert done == [HEAD + b"body"]


def test_the_rest_of_a_body_goes_out_piece_by_piece() -> None:
    response, done = writer()
    for piece in (HEAD, b"bo", memoryview(b"d"), b"y"):
        response.write(cast(bytes, piece))
    assert done == [HEAD + b"bo", b"d", b"y"]


def test_an_empty_body_sends_the_head() -> None:
    response, done = writer()
    response.write(HEAD)
    response.write(b"")
    response.close()
    assert done == [HEAD, "closed"]


def test_a_held_head_goes_out_before_the_connection_is_closed() -> None:
    response, done = writer()
    response.write(HEAD)
    response.close()
    assert done == [HEAD, "closed"]


def test_an_interim_response_is_not_held() -> None:
    response, done = writer()
    response.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert done == [b"HTTP/1.1 100 Continue\r\n\r\n"]
    response.write(HEAD)
    response.write(b"body")
    assert done[1:] == [HEAD + b"body"]
