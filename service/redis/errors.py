"""Failures of calls to Redis."""

from typing import Literal

FailureKind = Literal["timeout", "connection", "reply", "corrupt", "circuit_open"]


class RedisCallError(Exception):
    """Redis did not answer a call with a usable value.

    Attributes:
        kind: timeout; connection (refused, reset); reply (an error or an unexpected type);
            corrupt (bytes that are not the requested value); circuit_open (too many failures in a
            row; not called until the circuit breaker's next probe).
    """

    def __init__(self, kind: FailureKind) -> None:
        super().__init__(kind)
        self.kind: FailureKind = kind
