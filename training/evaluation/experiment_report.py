"""Report of an experiment: users, impressions and attributed events of each arm, compared."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bundle.errors import InputError
from bundle.search.experiment import Experiment
from training.evaluation.experiment import MISMATCH, Moments, Values, lift, rate, share_p

Counts = Iterable[tuple[str, str, str | None, int]]
"""Counts of users: user_id, `<experiment>/<arm>`, type of event or None, and number of such events
or impressions; several may have the same user, arm and type."""

HORIZON = (
    "Fixed horizon: each p-value holds for one look, at a time that was fixed before the start; "
    "who looks daily and stops at the first p < 0.05 sees effects that are none."
)


@dataclass(frozen=True)
class TypeOutcome:
    """Attributed events of one type in an arm; None where a number is not defined.

    Attributes:
        type: of the events.
        events: number of events.
        rate, low, high: events per impression, and the ends of its interval of 95 %.
        lift, lift_low, lift_high, p: compared with the control, see `Lift`; None for the control.
    """

    type: str
    events: int
    rate: float | None
    low: float | None
    high: float | None
    lift: float | None = None
    lift_low: float | None = None
    lift_high: float | None = None
    p: float | None = None


@dataclass(frozen=True)
class ArmOutcome:
    """Results of an arm.

    Attributes:
        arm: its name.
        share: its share of all users, as the experiment asks for it.
        users: number of users who were shown something.
        impressions: number of answers to them.
        outcomes: by type of event, in alphabetical order.
    """

    arm: str
    share: float
    users: int
    impressions: int
    outcomes: list[TypeOutcome]


@dataclass(frozen=True)
class ExperimentReport:
    """Result of an experiment.

    Attributes:
        experiment: its name.
        control: name of the arm that the others are compared with.
        arms: in the order of the experiment.
        share_p: p-value of the numbers of users, if chance assigned them by the shares.
        share_mismatch: whether it is so small that the arms must not be compared.
        users_in_several_arms: number of users who are left out, as the arms were changed.
        other_arms: arms that the experiment does not have any more, which are left out.
    """

    experiment: str
    control: str
    arms: list[ArmOutcome]
    share_p: float
    share_mismatch: bool
    users_in_several_arms: int
    other_arms: list[str]

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {**asdict(self), "horizon": HORIZON}

    def text(self) -> str:
        """The report as a table and sentences."""
        lines = [f"experiment {self.experiment}, control {self.control}", ""]
        head = ["arm", "share", "users", "impressions", "type", "events"]
        rows = [[*head, "events per impression", "lift", "p"]]
        for arm in self.arms:
            known = [arm.arm, f"{arm.share:g}", f"{arm.users:,}", f"{arm.impressions:,}"]
            for cells in [*map(_cells, arm.outcomes)] or [["-"] * 5]:
                rows.append([*known, *cells])
                known = [""] * len(known)
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        padded = ([*map(str.ljust, row, widths)] for row in rows)
        lines += ["  ".join(row).rstrip() for row in padded]
        lines += ["", "Brackets: intervals of 95 %, with users as the units of chance.", HORIZON]
        if self.share_mismatch:
            lines.append(
                f"SAMPLE RATIO MISMATCH: the numbers of users do not fit the shares (p = "
                f"{self.share_p:.2g}). Do not compare the arms before the reason is found."
            )
        else:
            lines.append(f"The numbers of users fit the shares (p = {self.share_p:.2g}).")
        if self.users_in_several_arms:
            number = self.users_in_several_arms
            lines.append(f"Left out: {number:,} users in several arms, as the arms were changed.")
        if self.other_arms:
            names = ", ".join(self.other_arms)
            lines.append(f"Left out: arms that the experiment does not have, {names}.")
        return "\n".join(lines)


def experiment_report(experiment: Experiment, control: str, counts: Counts) -> ExperimentReport:
    """Compare the arms of an experiment.

    Args:
        experiment: the experiment.
        control: name of the arm that the others are compared with.
        counts: of its users.

    Raises:
        InputError: the experiment has no such arm.
    """
    names = [arm.name for arm in experiment.arms]
    if control not in names:
        raise InputError(f"--control {control}: the arms are {', '.join(names)}")
    users = _users(experiment, counts)
    rates = [
        {kind: rate(Moments.of(users.shown[mine], y[mine])) for kind, y in users.events.items()}
        for mine in users.members
    ]
    controls = rates[names.index(control)]
    arms = []
    for arm, mine, mean in zip(experiment.arms, users.members, rates, strict=True):
        outcomes = []
        for kind, one in mean.items():
            numbers = [one.value, one.low, one.high]
            if arm.name != control:
                compared = lift(controls[kind], one)
                numbers += [compared.value, compared.low, compared.high, compared.p]
            number = int(users.events[kind][mine].sum())
            outcomes.append(TypeOutcome(kind, number, *map(_defined, numbers)))
        impressions = int(users.shown[mine].sum())
        arms.append(ArmOutcome(arm.name, arm.share, len(mine), impressions, outcomes))
    p = float(share_p([len(mine) for mine in users.members], [arm.share for arm in arms]))
    return ExperimentReport(
        experiment.name, control, arms, p, p < MISMATCH, users.in_several_arms, users.other_arms
    )


class _Users(NamedTuple):
    """Users of an experiment.

    Attributes:
        members: rows of the users of each arm.
        shown: impressions [N].
        events: attributed events [N] by type.
        in_several_arms: number of users who are in no arm here, as they were in several.
        other_arms: arms that the experiment does not have.
    """

    members: list[NDArray[np.intp]]
    shown: Values
    events: dict[str, Values]
    in_several_arms: int
    other_arms: list[str]


def _users(experiment: Experiment, counts: Counts) -> _Users:
    rows: dict[str, int] = {}
    arms: list[str] = []
    shown: list[int] = []
    events: defaultdict[str, defaultdict[int, int]] = defaultdict(lambda: defaultdict(int))
    several: set[int] = set()
    for user_id, label, kind, number in counts:
        arm = label.removeprefix(f"{experiment.name}/")
        row = rows.setdefault(user_id, len(rows))
        if row == len(arms):
            arms.append(arm)
            shown.append(0)
        if arms[row] != arm:
            several.add(row)
        if kind is None:
            shown[row] += number
        else:
            events[kind][row] += number
    numbers = {arm.name: number for number, arm in enumerate(experiment.arms)}
    x = np.array(shown, np.float64)
    of_arm = np.array([numbers.get(arm, -1) for arm in arms], np.int64)
    of_arm[[*several]] = -1
    of_arm[x == 0] = -1  # all their impressions have expired
    columns = {kind: np.zeros(len(x)) for kind in sorted(events)}
    for kind, column in columns.items():
        column[[*events[kind]]] = [*events[kind].values()]
    members = [np.flatnonzero(of_arm == number) for number in numbers.values()]
    return _Users(members, x, columns, len(several), sorted({*arms} - numbers.keys()))


def _defined(value: Any) -> float | None:
    return float(value) if isfinite(value) else None


def _cells(one: TypeOutcome) -> list[str]:
    """The cells of one type of event."""
    mean = _interval("{:.4g}", one.rate, one.low, one.high)
    change = _interval("{:+.1%}", one.lift, one.lift_low, one.lift_high)
    p = "-" if one.p is None else f"{one.p:.2g}"
    return [one.type, f"{one.events:,}", mean, change, p]


def _interval(form: str, value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "-"
    ends = "" if low is None or high is None else f" [{form.format(low)}, {form.format(high)}]"
    return form.format(value) + ends
