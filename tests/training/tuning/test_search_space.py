"""The search space: it fits the configuration, and one that does not is refused."""

import re
from pathlib import Path
from typing import Any

import pytest

from bundle.errors import InputError
from tests.support.paths import DOCS
from tests.training.tuning.small_search import run_tune
from training.data.dataset import Dataset
from training.data.split import Split
from training.fitting.config import FitConfig
from training.tuning.search_space import SEARCH_SPACE, Choice, FloatRange, IntRange, check_space


def test_the_search_space_fits_the_configuration_and_its_description() -> None:
    check_space(SEARCH_SPACE, FitConfig())
    document = (DOCS / "guide" / "training.md").read_text()
    described = set(re.findall(r"^\| `((?:model|optim)\.\w+)` \|", document, re.M))
    assert described == set(SEARCH_SPACE)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"model.heat": FloatRange(0, 1)}, "the configuration has no key model.heat"),
        ({"colour": FloatRange(0, 1)}, "the configuration has no key colour"),
        ({"model.temperature": FloatRange(0, 1)}, "model.temperature: .*greater than 0"),
        ({"model.item_layers": IntRange(0, 99)}, "model.item_layers: "),
        ({"model.fusion": Choice(("concat", "glue"))}, "model.fusion: "),
        ({}, "nothing to search"),
    ],
)
def test_a_space_that_does_not_fit_is_refused_by_name(
    dataset: Dataset, split: Split, tmp_path: Path, space: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        run_tune(dataset, split, tmp_path / "study.db", space=space)
    assert not (tmp_path / "study.db").exists()
