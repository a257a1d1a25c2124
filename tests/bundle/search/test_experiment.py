"""Experiments: the assignment of users to arms, and files that are refused."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bundle.errors import InputError
from bundle.json_file import read_json_file
from bundle.search.experiment import Experiment


def test_users_stay_in_their_arm_and_arms_have_their_shares() -> None:
    arms = [{"name": "a", "share": 0.2}, {"name": "b", "share": 0.5}]
    one, other = (Experiment.model_validate({"name": n, "arms": arms}) for n in ("one", "other"))
    named = [one.arm(f"u{n}") for n in range(20_000)]
    counts = Counter(arm.name if arm else None for arm in named)
    assert abs(counts["a"] / 20_000 - 0.2) < 0.015 and abs(counts["b"] / 20_000 - 0.5) < 0.015
    again = Experiment.model_validate({"name": "one", "arms": arms})
    assert all(again.arm(f"u{n}") == named[n] for n in range(500))
    # The arms of two experiments are independent.
    both = sum(
        arm is not None and arm.name == "b" and getattr(other.arm(f"u{n}"), "name", "") == "b"
        for n, arm in enumerate(named)
    )
    assert abs(both / 20_000 - 0.25) < 0.015


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        ([], "arms"),
        ([{"name": "a", "share": 0.6}, {"name": "b", "share": 0.6}], "more than 1"),
        ([{"name": "a", "share": 0.1}, {"name": "a", "share": 0.1}], "twice"),
        ([{"name": "a", "share": 0}], "arms.0.share"),
        ([{"name": "a b", "share": 0.1}], "arms.0.name"),
        ([{"name": "a", "share": 0.1, "options": {"k": 5}}], "arms.0.options.k"),
        ([{"name": "a", "share": 0.1, "options": {"diversity": 2}}], "diversity"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(
    tmp_path: Path, arms: list[dict[str, Any]], message: str
) -> None:
    path = tmp_path / "arms.json"
    path.write_text(json.dumps({"name": "test", "arms": arms}))
    with pytest.raises(InputError, match=message) as caught:
        read_json_file(path, Experiment)
    assert str(path) in str(caught.value)
