"""Permits: who comes when all are taken is refused at once and not kept waiting."""

from prometheus_client import Counter

from service.errors import OverloadedError


class Permits:
    """So many requests may be in work; `with` one of the permits.

    It bounds what waits, for Redis or for a search in a thread. Requests that wait for nothing
    are done one after another before the next one asks.
    """

    def __init__(self, limit: int, shed: Counter) -> None:
        self._limit = limit
        self._taken = 0
        self._shed = shed

    def __enter__(self) -> None:
        """Take a permit.

        Raises:
            OverloadedError: there is none.
        """
        if self._taken >= self._limit:
            self._shed.inc()
            raise OverloadedError(f"{self._limit} requests are in work; try again in a moment")
        self._taken += 1

    def __exit__(self, *_: object) -> None:
        """Give it back."""
        self._taken -= 1
