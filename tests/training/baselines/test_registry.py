"""Contract of the training loop, kept by every baseline; a model is tested by being listed."""

from pathlib import Path
from typing import Any

import pytest
import torch

from bundle.errors import InputError
from models.trainable import Batch
from tests.support.data.planted_groups import N_GROUPS
from training.baselines.registry import BaselineName, as_backbone, plan_baseline
from training.data.dataset import Dataset
from training.data.split import Split
from training.fitting.checkpoint import Progress
from training.fitting.config import FitConfig, RunOptions
from training.fitting.ranking import evaluate_vectors
from training.fitting.trainer import fit_model

SMALL = ("model.dim=16", "model.negatives=64", "optim.batch_size=64", "optim.learning_rate=0.03")
CPU = torch.device("cpu")
every_baseline = pytest.mark.parametrize("name", BaselineName)


def untrained(name: BaselineName, dataset: Dataset, split: Split, *more: str, seed: int = 0) -> Any:
    plan = plan_baseline(name, (*SMALL, *more))
    generator = torch.Generator().manual_seed(seed)
    return plan.build(split.train, dataset.modalities, plan.config.model, generator, CPU)


def whole_batch(split: Split) -> Batch:
    users, items = (torch.from_numpy(idx).long() for idx in split.train.pairs())
    drawn = torch.randint(
        split.train.n_cols, (len(users),), generator=torch.Generator().manual_seed(1)
    )
    return Batch(users, items, drawn)


def run_fit(
    name: BaselineName,
    dataset: Dataset,
    split: Split,
    directory: Path,
    epochs: int,
    *,
    resume: bool = False,
    seed: int = 0,
) -> tuple[Any, Progress]:
    plan = plan_baseline(name, (*SMALL, f"optim.max_epochs={epochs}"))
    return fit_model(
        split,
        dataset.modalities,
        f"{dataset.fingerprint} {name} {plan.settings}",
        plan.config,
        RunOptions(seed=seed, threads=1),
        directory,
        resume=resume,
        build=plan.build,
    )


def same(one: torch.nn.Module, two: torch.nn.Module) -> bool:
    other = two.state_dict()
    return all(torch.equal(value, other[key]) for key, value in one.state_dict().items())


@every_baseline
def test_vectors_have_the_configured_width_and_are_finite(
    name: BaselineName, dataset: Dataset, split: Split
) -> None:
    vectors = untrained(name, dataset, split)()
    assert vectors.users.shape == (len(dataset.users), 16)
    assert vectors.items.shape == (len(dataset.items), 16)
    assert all(torch.isfinite(side).all() for side in vectors)


@every_baseline
def test_a_loss_in_mixed_precision_is_almost_the_same(
    name: BaselineName, dataset: Dataset, split: Split
) -> None:
    model, batch = untrained(name, dataset, split), whole_batch(split)
    model.begin_epoch(torch.Generator().manual_seed(0))
    exact = model.loss(batch)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = model.loss(batch)
    for term, value in mixed.items():
        assert float(value.detach()) == pytest.approx(float(exact[term].detach()), rel=0.01)


@every_baseline
def test_the_loss_moves_every_parameter(name: BaselineName, dataset: Dataset, split: Split) -> None:
    model = untrained(name, dataset, split)
    model.begin_epoch(torch.Generator().manual_seed(0))
    terms = model.loss(whole_batch(split))
    assert all(torch.isfinite(term) and term.ndim == 0 for term in terms.values())
    torch.stack(list(terms.values())).sum().backward()
    still = [
        key for key, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0
    ]
    assert still == []


@pytest.mark.slow
@every_baseline
def test_planted_groups_are_found(
    name: BaselineName, dataset: Dataset, split: Split, tmp_path: Path
) -> None:
    model, progress = run_fit(name, dataset, split, tmp_path, 40)
    with torch.no_grad():
        vectors = model()
    test = evaluate_vectors(vectors.users, vectors.items, split.test, split.train)
    assert test["recall@20"] > 0.9
    scores = vectors.users @ vectors.items.T
    of_group = torch.arange(scores.shape[0])[:-1, None] % N_GROUPS
    assert (scores[:-1].topk(5).indices % N_GROUPS == of_group).float().mean() > 0.9
    assert progress.history[-1]["loss"] < progress.history[0]["loss"]


@pytest.mark.slow
@every_baseline
def test_a_seed_makes_one_model_also_across_a_resume(
    name: BaselineName, dataset: Dataset, split: Split, tmp_path: Path
) -> None:
    whole, _ = run_fit(name, dataset, split, tmp_path / "whole", 4)
    run_fit(name, dataset, split, tmp_path / "parts", 2)
    parts, _ = run_fit(name, dataset, split, tmp_path / "parts", 4, resume=True)
    other, _ = run_fit(name, dataset, split, tmp_path / "other", 4, seed=1)
    assert same(whole, parts)
    assert not same(whole, other)


@every_baseline
def test_a_drawn_item_that_the_user_took_is_no_negative(
    name: BaselineName, dataset: Dataset, split: Split
) -> None:
    model = untrained(name, dataset, split)
    users, items = (torch.from_numpy(idx[:1]).long() for idx in split.train.pairs())
    assert model.ranking(model(), Batch(users, items, items)) == 0


def test_each_interaction_has_a_draw_of_its_own(dataset: Dataset, split: Split) -> None:
    model = untrained(BaselineName.MF_BPR, dataset, split)
    batch = Batch(torch.zeros(3).long(), torch.zeros(3).long(), torch.tensor([7, 5, 7, 9]))
    assert model.drawn(batch).tolist() == [7, 5, 7]
    assert model.drawn(batch._replace(negatives=torch.tensor([4, 8]))).tolist() == [4, 8, 4]


def test_models_that_need_content_are_refused_without_it(split: Split) -> None:
    for name in (BaselineName.VBPR, BaselineName.FREEDOM, BaselineName.MGCN):
        plan = plan_baseline(name, SMALL)
        with pytest.raises(InputError, match="needs at least one modality"):
            plan.build(split.train, {}, plan.config.model, torch.Generator(), CPU)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("baseline.unknown=1", "baseline.unknown"),
        ("baseline.l2=-1", "baseline.l2"),
        ("baseline.l2=x", "number"),
    ],
)
def test_settings_that_do_not_fit_are_refused(assignment: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        plan_baseline(BaselineName.MGCN, (assignment,))


def test_settings_and_shared_hyper_parameters_arrive() -> None:
    plan = plan_baseline(BaselineName.FREEDOM, ("baseline.pruned=0.5", "model.dim=32"))
    assert plan.settings.model_dump()["pruned"] == 0.5
    assert plan.config.model.dim == 32


@pytest.mark.parametrize("modal_line", [False, True])
def test_drepmrec_trains_a_baseline_as_its_backbone(
    dataset: Dataset, split: Split, modal_line: bool
) -> None:
    config = FitConfig.model_validate({"model": {"dim": 16, "negatives": 8}}).model
    build = as_backbone(plan_baseline(BaselineName.MGCN, SMALL), modal_line)
    model = build(split.train, dataset.modalities, config, torch.Generator().manual_seed(0), CPU)
    torch.stack(list(model.loss(whole_batch(split)).values())).sum().backward()
    embeddings = model.backbone.get_parameter("light_gcn.embeddings.users")
    assert embeddings.grad is not None and embeddings.grad.abs().sum() > 0
    assert model.modalities == (["image", "text"] if modal_line else [])
