"""Metrics of outcomes: ranges of ranks, and a bounded number of bundles."""

import pytest

from service.observability.metrics import Metrics
from service.observability.outcomes import MAX_BUNDLES


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"drepmrec_{name}", labels)


@pytest.mark.parametrize(
    ("ranks", "expected"),
    [
        (range(1, 2), {"1": 1}),
        (range(1, 101), {"1": 1, "2-3": 2, "4-10": 7, "11-30": 20, "31-": 70}),
        (range(21, 41), {"11-30": 10, "31-": 10}),
        (range(3, 5), {"2-3": 1, "4-10": 1}),
        (range(200, 203), {"31-": 3}),
        (range(1, 1), {}),
    ],
)
def test_items_count_in_the_range_of_their_rank(ranks: range, expected: dict[str, int]) -> None:
    metrics = Metrics()
    metrics.outcomes.show(None, "v1", "popular", ranks, 3, 2)
    labels = {"arm": "", "bundle": "v1", "source": "popular"}
    for position in ("1", "2-3", "4-10", "11-30", "31-"):
        found = value(metrics, "shown_items_total", position=position, **labels)
        assert (found or 0) == 2 * expected.get(position, 0)
    assert value(metrics, "outcome_answers_total", bundle="v1", user_group="3") == 2
    for rank in ranks:
        metrics.outcomes.attribute(None, "v1", "popular", rank, 3)
    for position, number in expected.items():
        found = value(metrics, "attributed_events_total", position=position, **labels)
        assert found == number


def test_bundles_beyond_a_number_have_no_name() -> None:
    metrics = Metrics()
    for n in range(MAX_BUNDLES + 5):
        metrics.outcomes.show("test/a", f"v{n}", "known_user", range(1, 2), 0, 1)
    metrics.outcomes.attribute("test/a", "v0", "known_user", 1, 0)
    metrics.outcomes.attribute("test/a", f"v{MAX_BUNDLES}", "known_user", 1, 0)
    for bundle, shown in (("v0", 1), (f"v{MAX_BUNDLES - 1}", 1), ("other", 5)):
        labels = {"bundle": bundle, "user_group": "0"}
        assert value(metrics, "outcome_answers_total", **labels) == shown
    for bundle in ("v0", "other"):
        assert value(metrics, "outcome_events_total", bundle=bundle, user_group="0") == 1
    assert value(metrics, "outcome_answers_total", bundle=f"v{MAX_BUNDLES}", user_group="0") is None
