"""A circuit breaker: who failed several times in a row is left alone for a while."""

from collections.abc import Callable
from typing import Literal

State = Literal["closed", "half_open", "open"]


class Breaker:
    """Counts failures in a row; not closed means: do not call.

    After it has opened, its owner waits, calls `probe`, tries once and reports how that went.

    Args:
        failures: how many in a row open it.
        on_change: told of each new state.
    """

    def __init__(self, failures: int, on_change: Callable[[State], None]) -> None:
        self.state: State = "closed"
        self._limit = failures
        self._in_a_row = 0
        self._on_change = on_change

    def success(self) -> None:
        """A call went well. One that was made before it opened does not close it again."""
        if self.state == "half_open":
            self._become("closed")
        if self.state == "closed":
            self._in_a_row = 0

    def failure(self) -> None:
        """A call failed."""
        self._in_a_row += 1
        if self.state == "half_open" or (self.state == "closed" and self._in_a_row >= self._limit):
            self._become("open")

    def probe(self) -> None:
        """The next result decides."""
        self._become("half_open")

    def _become(self, state: State) -> None:
        self.state = state
        self._on_change(state)
