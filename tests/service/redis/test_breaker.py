"""States of the circuit breaker."""

from service.redis.breaker import CircuitBreaker, State


def state(breaker: CircuitBreaker) -> str:
    return breaker.state


def test_the_breaker_opens_probes_and_closes() -> None:
    states: list[State] = []
    breaker = CircuitBreaker(3, states.append)
    for _ in range(2):
        breaker.failure()
    breaker.success()
    for _ in range(2):
        breaker.failure()
    assert state(breaker) == "closed"
    breaker.failure()
    assert state(breaker) == "open"
    breaker.success()  # of a call that began before
    assert state(breaker) == "open"
    breaker.probe()
    breaker.failure()
    assert state(breaker) == "open"
    breaker.probe()
    breaker.success()
    assert states == ["open", "half_open", "open", "half_open", "closed"]
    for _ in range(2):
        breaker.failure()
    assert state(breaker) == "closed"
