"""Metrics of outcomes: what was shown, and the events that were attributed to it.

Their labels have bounded numbers of values: ranks are in POSITIONS, users in GROUPS, and of the
bundles MAX_BUNDLES have their name.
"""

from collections.abc import Callable

from prometheus_client import Counter

POSITIONS = {1: "1", 3: "2-3", 10: "4-10", 30: "11-30"}
"""Labels of ranges of ranks, by their last rank."""
LATER = "31-"
"""Label of all later ranks."""
GROUPS = 16
"""Number of groups of users, between which a rate varies by chance: the alert on a new bundle
compares it with that variation. Users, not answers, are independent of each other."""
MAX_BUNDLES = 100
"""Maximum number of bundle versions that a process names; later ones are `other`."""


class OutcomeMetrics:
    """Counters of outcomes.

    Args:
        counter: makes a counter from name, text and labels.
    """

    def __init__(self, counter: Callable[[str, str, list[str]], Counter]) -> None:
        of_items = ["arm", "bundle", "source", "position"]
        self._shown = counter(
            "shown_items_total", "Items of remembered answers, by position.", of_items
        )
        self._attributed = counter(
            "attributed_events_total",
            "Events of positive weight that followed an item of a remembered answer.",
            of_items,
        )
        self._answers = counter(
            "outcome_answers_total",
            "Remembered answers, by groups of users.",
            ["bundle", "user_group"],
        )
        self._events = counter(
            "outcome_events_total",
            "Attributed events of positive weight, by groups of users.",
            ["bundle", "user_group"],
        )
        self.records = counter(
            "outcome_records_total",
            "Answers and events that outcomes are made from, by result.",
            ["kind", "result"],
        )
        self._bundles: set[str] = set()

    def show(
        self, arm: str | None, version: str, source: str, ranks: range, user_group: int, times: int
    ) -> None:
        """Count answers with the same labels.

        Args:
            arm: `<experiment>/<arm>`, if any.
            version: of the bundle.
            source: origin of the items.
            ranks: of the items.
            user_group: number of the group of the users.
            times: number of answers.
        """
        bundle = self._named(version)
        self._answers.labels(bundle, str(user_group)).inc(times)
        first = ranks.start
        for last, position in [*POSITIONS.items(), (ranks.stop, LATER)]:
            number = min(last + 1, ranks.stop) - first
            if number > 0:
                self._shown.labels(arm or "", bundle, source, position).inc(number * times)
                first += number

    def attribute(
        self, arm: str | None, version: str, source: str, rank: int, user_group: int
    ) -> None:
        """Count one attributed event of positive weight."""
        bundle = self._named(version)
        self._events.labels(bundle, str(user_group)).inc()
        position = next((name for last, name in POSITIONS.items() if rank <= last), LATER)
        self._attributed.labels(arm or "", bundle, source, position).inc()

    def _named(self, version: str) -> str:
        if version not in self._bundles:
            if len(self._bundles) >= MAX_BUNDLES:
                return "other"
            self._bundles.add(version)
        return version
