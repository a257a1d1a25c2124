"""Circuit breaker: no calls for a while after several failures in a row."""

from collections.abc import Callable
from typing import Literal

State = Literal["closed", "half_open", "open"]


class CircuitBreaker:
    """Counter of failures in a row; calls are allowed while it is closed.

    After it opens, its owner waits, calls `probe`, makes one call and reports the result.

    Args:
        failures: number of failures in a row that open it.
        on_change: called with each new state.
    """

    def __init__(self, failures: int, on_change: Callable[[State], None]) -> None:
        self.state: State = "closed"
        self._limit = failures
        self._in_a_row = 0
        self._on_change = on_change

    def success(self) -> None:
        """Record a successful call; one from before the breaker opened does not close it."""
        if self.state == "half_open":
            self._become("closed")
        if self.state == "closed":
            self._in_a_row = 0

    def failure(self) -> None:
        """Record a failed call."""
        self._in_a_row += 1
        if self.state == "half_open" or (self.state == "closed" and self._in_a_row >= self._limit):
            self._become("open")

    def probe(self) -> None:
        """Let the next result close it or open it again."""
        self._become("half_open")

    def _become(self, state: State) -> None:
        self.state = state
        self._on_change(state)
