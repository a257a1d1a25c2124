"""Data of the tests of fits: a planted data set and its split."""

import numpy as np
import pytest

from tests.support.data.planted_groups import planted_dataset
from training.data.dataset import Dataset
from training.data.split import Split, make_split
from training.fitting.config import FitConfig


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return planted_dataset()


@pytest.fixture(scope="module")
def split(dataset: Dataset) -> Split:
    return make_split(dataset, FitConfig().split, np.random.default_rng(0))
