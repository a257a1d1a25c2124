"""Request body: decoded as its `Content-Encoding` says, and never beyond a number of bytes."""

import zlib
from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import (
    BodyTooLargeError,
    InvalidParameterError,
    RequestError,
    UnsupportedEncodingError,
)
from service.http.error_handlers import REFUSAL, BodyError

ENCODINGS: Mapping[bytes, int | None] = {
    b"": None,
    b"identity": None,
    b"gzip": 16 + zlib.MAX_WBITS,
    b"x-gzip": 16 + zlib.MAX_WBITS,
    b"deflate": zlib.MAX_WBITS,
}
"""zlib's `wbits` of each `Content-Encoding`; None is not decoded."""


class RequestBody:
    """ASGI middleware that decodes bodies and limits them.

    413 for more than `limit` bytes, before or after decoding; 415 for an encoding that is unknown.
    Errors are raised where the body is read, so that the exception handlers answer them; FastAPI
    turns every error but an HTTPException there into a 400.

    Args:
        app: the next layer.
        limit: maximum size of a body, in bytes.
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; those without a body are passed on."""
        if scope["type"] != "http" or scope["method"] in ("GET", "OPTIONS"):
            await self._app(scope, receive, send)
            return
        given = [value for name, value in scope["headers"] if name == b"content-encoding"]
        encoding = b", ".join(given).strip().lower()
        bits = ENCODINGS.get(encoding)
        decoder = None if bits is None else zlib.decompressobj(bits)
        received = decoded = 0

        async def read() -> Message:
            nonlocal received, decoded
            message = await receive()
            if REFUSAL in scope:  # the connection's bytes were no body any more
                raise BodyError(scope[REFUSAL])
            if message["type"] != "http.request":
                return message
            if encoding not in ENCODINGS:
                raise BodyError(_unsupported(encoding))
            received += len(message["body"])
            if received <= self._limit and decoder is not None:
                message = {**message, "body": _decode(decoder, message, self._limit - decoded + 1)}
            decoded += len(message["body"])
            if max(received, decoded) > self._limit:
                raise BodyError(BodyTooLargeError(f"the body has more than {self._limit} bytes"))
            return message

        await self._app(scope, read, send)


def _decode(decoder: "zlib._Decompress", message: Message, longest: int) -> bytes:
    """The next part of a body, of at most `longest` bytes: a bomb is not unpacked further.

    Raises:
        BodyError: it is damaged, ends early or goes on after its end.
    """
    try:
        body = decoder.decompress(message["body"], longest)
    except zlib.error:
        raise BodyError(
            InvalidParameterError("body: is not what its Content-Encoding says")
        ) from None
    if decoder.unused_data:
        raise BodyError(InvalidParameterError("body: goes on after the end of its encoding"))
    if not message.get("more_body") and not decoder.eof and len(body) < longest:
        raise BodyError(InvalidParameterError("body: ends before its encoding does"))
    return body


def _unsupported(encoding: bytes) -> RequestError:
    shown = encoding.decode("ascii", "replace")[:60]
    return UnsupportedEncodingError(
        f"Content-Encoding: must be gzip, deflate or absent, not {shown!r}"
    )
