"""Items that lose one of their modalities."""

import numpy as np

from benchmarks.quality.missing_modalities import lose_one_modality
from tests.support.data.planted_groups import planted_dataset
from training.data.dataset import Modality


def test_a_share_of_the_items_loses_one_modality() -> None:
    modalities = planted_dataset().modalities
    before = np.sum([m.present for m in modalities.values()], 0)
    lost = {}
    for share in (0.2, 0.5):
        found = lose_one_modality(modalities, share, np.random.default_rng(3))
        after = np.sum([m.present for m in found.values()], 0)
        assert (before - after).sum() == int(share * len(before))
        assert set(before - after) == {0, 1}
        assert all((m.features[~m.present] == 0).all() for m in found.values())
        lost[share] = {n: ~found[n].present & m.present for n, m in modalities.items()}
    for name in modalities:
        assert (lost[0.5][name] | ~lost[0.2][name]).all()
        assert lost[0.5][name].any()
    assert all(m.present.sum() > 50 for m in modalities.values())


def test_a_given_graph_loses_the_items_on_both_ends() -> None:
    given = Modality(
        np.ones((4, 2), np.float32),
        np.ones(4, np.bool_),
        np.array([[1, 2], [0, 3], [0, -1], [2, 1]], np.int32),
        np.full((4, 2), 0.5, np.float32),
    )
    assert given.neighbour_idx is not None
    found = lose_one_modality({"image": given}, 0.25, np.random.default_rng(0))["image"]
    assert found.neighbour_idx is not None
    assert found.neighbour_cos is not None
    (gone,) = np.flatnonzero(~found.present)
    assert (found.neighbour_idx[gone] == -1).all()
    assert gone not in found.neighbour_idx
    kept = (given.neighbour_idx != gone) & (given.neighbour_idx >= 0)
    kept[gone] = False
    assert (found.neighbour_idx[kept] == given.neighbour_idx[kept]).all()
    assert ((found.neighbour_cos > 0) == kept).all()
