"""The plug-in under the baselines' own loss: what is summed, and what InfoNCE compares."""

from pathlib import Path

import pytest
import torch

from benchmarks.quality.bench import Bench
from benchmarks.quality.plugin_bpr import PluggedIn, plugged_in
from benchmarks.quality.runner import plan, run
from benchmarks.quality.tables import Job, plugin_bpr
from models.trainable import Batch, Vectors
from tests.benchmarks.planted_bench import planted_bench
from training.baselines.registry import BaselineName, plan_baseline
from training.fitting.batches import epoch_batches

SHORT = ("model.dim=8", "optim.max_epochs=2", "optim.batch_size=64")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return planted_bench(tmp_path, SHORT)


def model_of(name: BaselineName, bench: Bench, contrast: str, weight: float) -> PluggedIn:
    baseline = plan_baseline(name, SHORT)
    generator = torch.Generator().manual_seed(0)
    build = plugged_in(baseline, contrast, weight)
    data, config = bench.dataset.modalities, baseline.config.model
    model = build(bench.split.train, data, config, generator, torch.device("cpu"))
    model.begin_epoch(generator)
    return model


@pytest.fixture
def batch(bench: Bench) -> Batch:
    config, generator = plan_baseline(BaselineName.MF_BPR, SHORT).config, torch.Generator()
    batches = epoch_batches(
        bench.split.train, config, generator, lambda step: step, torch.device("cpu"), False
    )
    first = next(iter(batches))
    assert isinstance(first, Batch)
    return first


@pytest.mark.parametrize("name", BaselineName)
def test_vectors_are_sums_and_the_terms_are_those_of_the_baseline(
    name: BaselineName, bench: Bench, batch: Batch
) -> None:
    model = model_of(name, bench, "lines", 0.0)
    both, alone, modal = model(), model.baseline(), model._modal_line()
    torch.testing.assert_close(both.items, alone.items + modal.items)
    torch.testing.assert_close(both.users, alone.users + modal.users)
    terms, of_baseline = model.loss(batch), model.baseline.loss(batch)
    assert terms.keys() == of_baseline.keys()
    changed = {key for key in terms if not torch.equal(terms[key], of_baseline[key])}
    assert changed == {"rank"}


def test_users_are_ranked_without_the_content_of_the_ranked_item(
    bench: Bench, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, ranked = model_of(BaselineName.MF_BPR, bench, "lines", 0.0), list[torch.Tensor]()
    ranking = model.baseline.ranking

    def recorded(vectors: Vectors, batch: Batch, users: torch.Tensor | None = None) -> torch.Tensor:
        if users is not None:
            ranked.append(users)
        return ranking(vectors, batch, users)

    monkeypatch.setattr(model.baseline, "ranking", recorded)
    model.loss(batch)
    alone, modal, train = model.baseline(), model._modal_line(), bench.split.train
    for row in range(5):
        user, item = int(batch.user_idx[row]), int(batch.item_idx[row])
        others = [other for other in train.row(user).tolist() if other != item]
        expected = alone.users[user] + modal.items[others].mean(0)
        torch.testing.assert_close(ranked[0][row], expected)


@pytest.mark.parametrize("contrast", ["lines", "control"])
def test_infonce_is_the_only_difference(contrast: str, bench: Bench, batch: Batch) -> None:
    name = BaselineName.FREEDOM
    without, given = (model_of(name, bench, contrast, w).loss(batch) for w in (0.0, 0.01))
    assert set(given) - set(without) == {"contrast"}
    assert all(torch.equal(given[name], without[name]) for name in without)


def test_rows_are_compared_with_their_control_and_share_its_runs(bench: Bench) -> None:
    jobs = {job.label: job for job in plugin_bpr([])}
    bma = jobs["MF + modal line + BMA 0.001"]
    control = jobs["MF + modal line + control 0.001"]
    over = jobs["MF + modal line + BMA 0.001, over the control"]
    assert over.versus == control.label
    assert plan(over, 0, bench).name == plan(bma, 0, bench).name != plan(control, 0, bench).name
    found = run(bma, 0, bench)
    assert found["settings"]["contrasted"] == "lines"
    assert found["epochs"] == 2
    assert plan(Job("a", "mf_bpr"), 0, bench).name != found["run"]
