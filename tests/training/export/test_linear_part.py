"""The linear part of a bundle: vectors, encoders, explanations and fits on several processes."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bundle.events.history import fold_in
from bundle.search.explanation import score_parts
from bundle.search.recommender import Recommender
from bundle.store.store import BundleStore
from tests.support.data.planted_groups import planted_dataset
from training.data.split import make_split
from training.evaluation.bundle_evaluation import evaluate_bundle
from training.export.export import make_contents
from training.fitting.config import RunOptions, load_config
from training.fitting.trainer import fit_model

pytestmark = pytest.mark.slow

OPTIONS = [
    "model.dim=8",
    "model.negatives=32",
    "model.linear_columns=6",
    "model.linear_l2=5",
    "optim.batch_size=64",
    "optim.learning_rate=0.02",
    "optim.max_epochs=3",
]


@pytest.mark.parametrize("backbone", ["items", "lightgcn"])
def test_a_bundle_serves_the_linear_part(tmp_path: Path, backbone: str) -> None:
    dataset = planted_dataset(n_users=120, n_items=90)
    config = load_config(None, [*OPTIONS, f"model.backbone={backbone}"])
    split = make_split(dataset, config.split, np.random.default_rng(0))
    model, progress = fit_model(
        split, dataset.modalities, dataset.fingerprint, config, RunOptions(), tmp_path / "run"
    )
    assert model.linear is not None
    model.linear.weight.fill_(2.0)  # whatever was chosen: the part is to be served
    model.eval()
    with torch.no_grad():
        vectors = model()
    store = BundleStore(tmp_path / "store")
    contents = make_contents(model, progress, dataset, split, config, RunOptions(), None)
    store.publish(contents)
    bundle = store.load()
    names = [part.name for part in bundle.manifest.parts]
    assert names == ["behaviour", "image", "text", "linear", "popularity"]
    assert max(bundle.report["onnx_max_abs_difference"].values()) < 1e-5
    assert bundle.report["linear_weight"] == 2.0
    np.testing.assert_allclose(bundle.item_vectors, vectors.items, atol=1e-6)

    user = int(np.argmax(split.train.lengths))
    history = split.train.row(user)
    linear = slice(bundle.manifest.parts[-2].start, bundle.manifest.parts[-2].stop)
    folded = fold_in(bundle, bundle.item_vectors[history], np.ones(len(history), np.float32))
    assert folded is not None
    if backbone == "items":
        np.testing.assert_allclose(folded, vectors.users[user], atol=1e-5)
    np.testing.assert_allclose(folded[linear], vectors.users[user, linear], atol=1e-5)

    recommender = Recommender(bundle)
    items = np.arange(len(dataset.items), dtype=np.int32)
    parts = score_parts(recommender.catalogue, folded, items)
    np.testing.assert_allclose(sum(parts.values()), bundle.item_vectors @ folded, atol=1e-5)
    assert np.abs(parts["linear"]).max() > 0.01

    found = evaluate_bundle(bundle, dataset, split.test, split.train)
    assert found.metrics["recall@20"] > 0.5

    features = {name: m.features[:1] for name, m in dataset.modalities.items()}
    new = bundle.item_encoder.encode(features, np.ones((1, len(features)), np.bool_))[0]
    assert new[linear] @ folded[linear] != 0


def test_the_weight_is_chosen_on_valid_and_kept(tmp_path: Path) -> None:
    dataset = planted_dataset(n_users=120, n_items=90)
    config = load_config(None, OPTIONS)
    split = make_split(dataset, config.split, np.random.default_rng(0))
    models = [
        fit_model(
            split,
            dataset.modalities,
            dataset.fingerprint,
            config,
            RunOptions(),
            tmp_path,
            resume=resume,
        )
        for resume in (False, True)
    ]
    (first, progress), (resumed, _) = models
    assert first.linear is not None
    assert resumed.linear is not None
    assert float(first.linear.weight) == float(resumed.linear.weight)
    torch.testing.assert_close(first().items, resumed().items)
    without = load_config(None, [*OPTIONS, "model.linear_columns=0"])
    _, plain = fit_model(
        split, dataset.modalities, "plain", without, RunOptions(), tmp_path / "plain"
    )
    for epoch, other in zip(progress.history, plain.history, strict=True):
        assert epoch["recall@20"] >= other["recall@20"]
        assert epoch["loss"] == other["loss"]
