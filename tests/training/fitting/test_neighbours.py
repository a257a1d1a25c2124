"""Nearest neighbours by inverted lists against the exact ones."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from models.graphs import edges, nearest_neighbours
from training.data.dataset import Dataset
from training.data.split import Split
from training.fitting import neighbours as module
from training.fitting.config import load_config
from training.fitting.model_factory import build_model
from training.fitting.neighbours import approximate_neighbours, find_neighbours

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def always_by_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of few rows all are otherwise compared with all."""
    monkeypatch.setattr(module, "DEARER", 1)


def clustered(n: int, width: int = 32, seed: int = 0) -> torch.Tensor:
    """Overlapping clusters of unequal size, so that one list rarely has all neighbours."""
    rng = np.random.default_rng(seed)
    size = 1 / np.arange(1, n // 50 + 1) ** 0.8
    centres = rng.standard_normal((len(size), width), np.float32)
    of = rng.choice(len(size), n, p=size / size.sum())
    return torch.from_numpy(centres[of] + 0.7 * rng.standard_normal((n, width), np.float32))


def all_of(features: torch.Tensor) -> torch.Tensor:
    return torch.ones(len(features), dtype=torch.bool)


def shared(one: torch.Tensor, other: torch.Tensor) -> float:
    """Mean share of the neighbours of one result that the other has, too."""
    same = (one[:, :, None] == other[:, None, :]).any(2)
    return float(same.float().mean())


@pytest.mark.parametrize("seed", [0, 1])
def test_recall_reaches_the_goal_and_is_what_is_reported(seed: int) -> None:
    features = clustered(4_000, seed=seed)
    found = approximate_neighbours(features, all_of(features), 10)
    exact, cosines = nearest_neighbours(features, all_of(features), 10)
    recall = shared(exact, found.neighbours)
    assert found.searched < found.lists / 4
    assert found.recall >= module.RECALL_GOAL
    assert recall >= module.RECALL_GOAL - 0.01
    assert abs(recall - found.recall) < 0.01
    unit = F.normalize(features, dim=1)
    torch.testing.assert_close((unit[:, None] * unit[found.neighbours]).sum(2), found.cosines)
    assert (found.cosines[:, 0] - cosines[:, 0]).abs().median() < 1e-6


def test_the_result_depends_on_the_data_alone() -> None:
    features = clustered(3_000)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 2):
            torch.set_num_threads(threads)
            results.append(approximate_neighbours(features, all_of(features), 5))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0].neighbours, results[1].neighbours)
    assert torch.equal(results[1].neighbours, results[2].neighbours)


def test_absent_and_zero_rows_have_no_neighbours_and_are_none() -> None:
    features = clustered(2_000)
    features[::10] = 0
    present = all_of(features)
    present[1::10] = False
    found = approximate_neighbours(features, present, 10)
    without = torch.zeros(2_000, dtype=torch.bool)
    without[::10] = without[1::10] = True
    assert (found.neighbours[without] == -1).all()
    assert (found.cosines[without] == 0).all()
    rows, cols = edges(found.neighbours, found.cosines)
    assert not (without[rows] | without[cols]).any()
    assert (rows != cols).all()
    exact = nearest_neighbours(features, present, 10)
    # As a graph it is the exact one: zero rows have cosines of 0 there, which `edges` drops.
    assert shared(exact[0][~without], found.neighbours[~without]) > 0.94


def test_thousands_of_equal_rows_are_neighbours_of_each_other() -> None:
    features = clustered(6_000)
    features[1_000:5_000] = features[1_000]
    found = approximate_neighbours(features, all_of(features), 10)
    of_copies = found.neighbours[1_000:5_000]
    assert ((of_copies >= 1_000) & (of_copies < 5_000)).all()
    assert (of_copies != torch.arange(1_000, 5_000)[:, None]).all()
    assert all(len(set(row)) == 10 for row in of_copies.tolist())
    torch.testing.assert_close(found.cosines[1_000:5_000], torch.ones(4_000, 10))
    others = torch.cat([torch.arange(1_000), torch.arange(5_000, 6_000)])
    _, cosines = nearest_neighbours(features, all_of(features), 10)
    is_right = found.cosines[others] >= cosines[others, -1:] - 1e-5
    assert is_right.float().mean() >= module.RECALL_GOAL - 0.02


def test_where_lists_are_no_faster_neighbours_are_exact(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "EXACT_UP_TO", 1_000)
    monkeypatch.setattr(module, "DEARER", 8)
    noise = torch.randn(2_000, 64, generator=torch.Generator().manual_seed(0))
    found = find_neighbours(noise, all_of(noise), 10, CPU, "text of the items")
    exact = nearest_neighbours(noise, all_of(noise), 10)
    assert torch.equal(found[0], exact[0])
    torch.testing.assert_close(found[1], exact[1])
    said = capsys.readouterr().err
    assert "2000 rows from all rows, as fast as lists would be, recall 1.000" in said
    assert "below" not in said


def test_more_neighbours_than_a_list_or_the_data_hold() -> None:
    features = clustered(500)
    many = approximate_neighbours(features, all_of(features), 60)
    exact, _ = nearest_neighbours(features, all_of(features), 60)
    assert shared(exact, many.neighbours) >= module.RECALL_GOAL - 0.01
    few = features[:40]
    all_others = approximate_neighbours(few, all_of(few), 1_000)
    assert all_others.neighbours.shape == (40, 39)
    one = torch.zeros(500, dtype=torch.bool)
    one[3] = True
    assert approximate_neighbours(features, one, 10).neighbours.shape == (500, 0)
    assert (approximate_neighbours(torch.zeros(9, 4), torch.ones(9) > 0, 2).neighbours == -1).all()


def test_places_that_nothing_was_found_for_are_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_VISITED", 1)
    features = clustered(2_000)
    found = approximate_neighbours(features, all_of(features), 40)
    assert found.searched == 1
    is_none = found.neighbours < 0
    assert is_none.any(1).float().mean() > 0.9
    assert (found.cosines[is_none] == 0).all()
    assert (found.neighbours != torch.arange(2_000)[:, None]).all()
    assert found.recall < 0.5


def test_features_without_clusters_end_at_the_limit_and_say_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "EXACT_UP_TO", 1_000)
    monkeypatch.setattr(module, "MOST_VISITED", 200)
    noise = torch.randn(4_000, 64, generator=torch.Generator().manual_seed(0))
    neighbours, _ = find_neighbours(noise, all_of(noise), 10, CPU, "image of the items")
    exact, _ = nearest_neighbours(noise, all_of(noise), 10)
    said = capsys.readouterr().err
    assert "image of the items: 10 nearest neighbours of 4000 rows from 8 of 252 lists" in said
    assert "below the goal of 0.95" in said
    recall = float(said.split("recall ")[1].split(",")[0])
    assert abs(recall - shared(exact, neighbours)) < 0.02


def test_up_to_the_limit_neighbours_are_exact(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert module.EXACT_UP_TO == 100_000
    features = clustered(1_001)
    present = all_of(features)
    present[7] = False
    monkeypatch.setattr(module, "EXACT_UP_TO", 1_000)
    found = find_neighbours(features, present, 10, CPU, "text of the items")
    exact = nearest_neighbours(features, present, 10)
    assert torch.equal(found[0], exact[0])
    assert torch.equal(found[1], exact[1])
    assert capsys.readouterr().err == ""
    find_neighbours(features, all_of(features), 10, CPU, "text of the items")
    assert "text of the items: 10 nearest neighbours of 1001 rows" in capsys.readouterr().err


def test_a_fit_states_the_recall_of_each_modality(
    dataset: Dataset,
    split: Split,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(module, "EXACT_UP_TO", 10)
    config = load_config(None, ["model.user_layers=1"]).model
    build_model(split.train, dataset.modalities, config, torch.Generator(), CPU)
    lines = capsys.readouterr().err.splitlines()
    for name in dataset.modalities:
        for rows in ("items", "users"):
            [line] = [x for x in lines if x.startswith(f"{name} of the {rows}: 10 nearest")]
            assert float(line.split("recall ")[1].split(",")[0]) >= module.RECALL_GOAL
