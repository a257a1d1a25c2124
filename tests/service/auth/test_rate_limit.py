"""The token bucket of a rate limit."""

import pytest

from service.auth.rate_limit import TokenBucket


def test_a_bucket_holds_a_burst_and_fills_up_again() -> None:
    bucket = TokenBucket(rate=10, size=5)
    now = 1000.0
    assert [bucket.take(now) for _ in range(5)] == [0.0] * 5
    assert bucket.take(now) == pytest.approx(0.1)
    assert bucket.take(now) == pytest.approx(0.1)  # a refused request takes nothing
    assert bucket.take(now + 0.05) == pytest.approx(0.05)
    assert [bucket.take(now + 0.1 * n) for n in range(1, 40)] == [0.0] * 39
    assert [bucket.take(now + 100) for _ in range(5)] == [0.0] * 5
    assert bucket.take(now + 100) > 0


def test_a_charge_is_paid_back_by_waiting() -> None:
    bucket = TokenBucket(rate=10, size=5)
    now = 1000.0
    assert bucket.take(now) == 0.0
    bucket.charge(now, 24)
    assert bucket.take(now) == pytest.approx(2.1)
    assert bucket.take(now + 2) == pytest.approx(0.1)
    assert bucket.take(now + 2.1) == 0.0


def test_over_hours_a_bucket_lets_its_rate_through() -> None:
    bucket = TokenBucket(rate=3, size=3)
    taken = sum(bucket.take(5e5 + n / 7) == 0 for n in range(7 * 3600))
    assert abs(taken - 3 * 3600) <= 4
