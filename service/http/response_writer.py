"""Response writer: a response's head goes out with the beginning of its body."""

import asyncio

CONTINUE = b"HTTP/1.1 100 "
"""Beginning of the interim response that asks for a body; it goes out at once."""


class ResponseWriter:
    """Transport of one response: one system call for head and body, where uvicorn makes two.

    A system call takes about a twentieth of a recommendation's time.

    Args:
        transport: of the connection.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head: bytes | None = None
        """The head, held until the body begins; empty from then on, None before."""

    def write(self, data: bytes) -> None:
        """Send bytes; hold the head."""
        if self._head:
            data, self._head = b"".join((self._head, data)), b""
        elif self._head is None and not data.startswith(CONTINUE):
            self._head = data
            return
        self._transport.write(data)

    def close(self) -> None:
        """Close the connection; a head without a body goes out before."""
        if self._head:
            self.write(b"")
        self._transport.close()

    def is_closing(self) -> bool:
        """True if the connection is closed, or will be."""
        return self._transport.is_closing()
