"""Statistics of experiments: intervals, error rates and effects that are known beforehand."""

import numpy as np
import pytest
from numpy.typing import NDArray

from training.evaluation.experiment import Moments, lift, rate, share_p

EXPERIMENTS = 1000
USERS = 3000


def users(rng: np.random.Generator, n: int, effect: float = 0.0) -> NDArray[np.float64]:
    """Impressions and events [2, n] of users who are alike within and differ among themselves.

    A user's own inclination decides about all of the user's events, and those who are shown more
    react more: per impression, the variance of the rate would be several times too small.
    """
    inclination = rng.beta(0.5, 4.5, n) * (1 + effect)
    shown = rng.geometric(0.05, n) * rng.choice([1, 4], n)
    return np.array([shown, rng.binomial(shown, np.minimum(inclination, 1.0))], np.float64)


def moments_of(sums: NDArray[np.float64]) -> Moments:
    return Moments(*np.moveaxis(sums, -1, 0))


def products(data: NDArray[np.float64]) -> NDArray[np.float64]:
    """Summands of `Moments`, by user [n, 6]."""
    x, y = data
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], -1)


def test_a_rate_and_its_variance_are_those_of_the_definition() -> None:
    x, y = np.array([1.0, 4.0, 2.0, 3.0]), np.array([0.0, 3.0, 1.0, 0.0])
    found = rate(Moments.of(x, y))
    assert found.value == pytest.approx(0.4)
    residuals = y - 0.4 * x
    assert found.variance == pytest.approx(residuals.var(ddof=1) / 4 / x.mean() ** 2)
    assert found.low == 0 and found.high > 0.4


def test_the_interval_is_that_of_a_bootstrap_over_users() -> None:
    rng = np.random.default_rng(0)
    x, y = users(rng, USERS)
    found = rate(Moments.of(x, y))
    drawn = rng.integers(USERS, size=(4000, USERS))
    rates = y[drawn].sum(1) / x[drawn].sum(1)
    assert np.sqrt(found.variance) == pytest.approx(rates.std(), rel=0.05)
    per_impression = found.value * (1 - found.value) / x.sum()
    assert found.variance > 3 * per_impression


def test_experiments_without_effect_find_one_in_20_times() -> None:
    rng = np.random.default_rng(1)
    each = products(users(rng, USERS))
    found: list[NDArray[np.bool_]] = []
    naive: list[NDArray[np.bool_]] = []
    for _ in range(5):
        other = (rng.random((EXPERIMENTS, USERS)) < 0.5) @ each
        control = each.sum(0) - other
        compared = lift(rate(moments_of(control)), rate(moments_of(other)))
        found.append(compared.p < 0.05)
        # The interval says the same.
        assert (((compared.low > 0) | (compared.high < 0)) == found[-1]).all()
        # Per impression, as if these were independent, effects would be found everywhere.
        mean = each[:, 2].sum() / each[:, 1].sum()
        deviation = np.sqrt(mean * (1 - mean) * (1 / control[:, 1] + 1 / other[:, 1]))
        difference = other[:, 2] / other[:, 1] - control[:, 2] / control[:, 1]
        naive.append(np.abs(difference) > 1.96 * deviation)
    assert abs(np.mean(found) - 0.05) <= 0.01
    assert np.mean(naive) > 0.25


@pytest.mark.slow
def test_a_planted_effect_is_found_and_its_interval_contains_it_as_often_as_it_should() -> None:
    rng = np.random.default_rng(2)
    effect, hits, contained = 0.2, 0, 0
    for _ in range(200):
        control = rate(Moments.of(*users(rng, 4 * USERS)))
        compared = lift(control, rate(Moments.of(*users(rng, 4 * USERS, effect))))
        hits += bool(compared.p < 0.05 and compared.value > 0)
        contained += bool(compared.low <= effect <= compared.high)
    assert hits > 160
    assert abs(contained / 200 - 0.95) < 0.04


def test_without_events_nothing_is_claimed() -> None:
    x, y = np.tile([3.0, 1.0, 2.0], 20), np.tile([1.0, 1.0, 0.0], 20)
    none, some = rate(Moments.of(x, 0 * y)), rate(Moments.of(x, y))
    compared = lift(none, some)
    assert np.isnan(compared.low) and np.isnan(compared.high) and compared.p < 0.05
    assert np.isnan(lift(none, none).p)
    assert np.isnan(rate(Moments.of(np.empty(0), np.empty(0))).value)


def test_a_mismatch_of_the_shares_is_seen_and_chance_is_not() -> None:
    rng = np.random.default_rng(3)
    shares = [0.5, 0.3, 0.1]  # the rest is in no arm
    fair = rng.multinomial(20_000, np.array(shares) / 0.9, EXPERIMENTS)
    assert abs((share_p(fair, shares) < 0.05).mean() - 0.05) <= 0.015
    lost = fair - rng.binomial(fair[:, 1:2], 0.08) * np.array([0, 1, 0])
    assert (share_p(lost, shares) < 0.001).mean() > 0.95
    assert share_p([0, 0, 0], shares) == 1
    assert share_p([7], [0.2]) == 1
