"""Every rival keeps the contract that `fit` relies on; a model gets these tests by being listed."""

import numpy as np
import pytest
import torch
from planted import N_GROUPS, planted_dataset

from bundle.errors import InputError
from models.drepmrec import Batch
from training.config import FitConfig, RunOptions
from training.fit import fit
from training.ranking import evaluate_vectors
from training.rivals import RivalName, as_backbone, plan_rival
from training.split import make_split

SMALL = ("model.dim=16", "model.negatives=64", "optim.batch_size=64", "optim.learning_rate=0.03")
CPU = torch.device("cpu")
every_rival = pytest.mark.parametrize("name", RivalName)


@pytest.fixture(scope="module")
def dataset():
    return planted_dataset()


@pytest.fixture(scope="module")
def split(dataset):
    return make_split(dataset, FitConfig().split, np.random.default_rng(0))


def untrained(name, dataset, split, *more, seed=0):
    plan = plan_rival(name, (*SMALL, *more))
    generator = torch.Generator().manual_seed(seed)
    return plan.build(split.train, dataset.modalities, plan.config.model, generator, CPU)


def whole_batch(split):
    users, items = (torch.from_numpy(idx).long() for idx in split.train.pairs())
    drawn = torch.randint(
        split.train.n_cols, (len(users),), generator=torch.Generator().manual_seed(1)
    )
    return Batch(users, items, drawn)


def run_fit(name, dataset, split, directory, epochs, *, resume=False, seed=0):
    plan = plan_rival(name, (*SMALL, f"optim.max_epochs={epochs}"))
    return fit(
        split,
        dataset.modalities,
        f"{dataset.fingerprint} {name} {plan.settings}",
        plan.config,
        RunOptions(seed=seed, threads=1),
        directory,
        resume=resume,
        build=plan.build,
    )


def same(one, two):
    other = two.state_dict()
    return all(torch.equal(value, other[key]) for key, value in one.state_dict().items())


@every_rival
def test_vectors_have_the_width_that_was_asked_for_and_are_finite(name, dataset, split):
    vectors = untrained(name, dataset, split)()
    assert vectors.users.shape == (len(dataset.users), 16)
    assert vectors.items.shape == (len(dataset.items), 16)
    assert all(torch.isfinite(side).all() for side in vectors)


@every_rival
def test_the_loss_moves_every_parameter(name, dataset, split):
    model = untrained(name, dataset, split)
    model.begin_epoch(torch.Generator().manual_seed(0))
    terms = model.loss(whole_batch(split))
    assert all(torch.isfinite(term) and term.ndim == 0 for term in terms.values())
    torch.stack(list(terms.values())).sum().backward()
    still = [
        key for key, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0
    ]
    assert still == []


@every_rival
def test_planted_tastes_come_back(name, dataset, split, tmp_path):
    model, progress = run_fit(name, dataset, split, tmp_path, 40)
    with torch.no_grad():
        vectors = model()
    test = evaluate_vectors(vectors.users, vectors.items, split.test, split.train)
    assert test["recall@20"] > 0.9
    scores = vectors.users @ vectors.items.T
    of_group = torch.arange(scores.shape[0])[:-1, None] % N_GROUPS
    assert (scores[:-1].topk(5).indices % N_GROUPS == of_group).float().mean() > 0.9
    assert progress.history[-1]["loss"] < progress.history[0]["loss"]


@every_rival
def test_a_seed_makes_one_model_also_across_a_resume(name, dataset, split, tmp_path):
    whole, _ = run_fit(name, dataset, split, tmp_path / "whole", 4)
    run_fit(name, dataset, split, tmp_path / "parts", 2)
    parts, _ = run_fit(name, dataset, split, tmp_path / "parts", 4, resume=True)
    other, _ = run_fit(name, dataset, split, tmp_path / "other", 4, seed=1)
    assert same(whole, parts)
    assert not same(whole, other)


@every_rival
def test_a_drawn_item_that_the_user_took_is_no_negative(name, dataset, split):
    model = untrained(name, dataset, split)
    users, items = (torch.from_numpy(idx[:1]).long() for idx in split.train.pairs())
    assert model.ranking(model(), Batch(users, items, items)) == 0


def test_each_interaction_has_a_draw_of_its_own(dataset, split):
    model = untrained(RivalName.MF_BPR, dataset, split)
    batch = Batch(torch.zeros(3, dtype=int), torch.zeros(3, dtype=int), torch.tensor([7, 5, 7, 9]))
    assert model.drawn(batch).tolist() == [7, 5, 7]
    assert model.drawn(batch._replace(negatives=torch.tensor([4, 8]))).tolist() == [4, 8, 4]


def test_content_is_asked_for_where_a_model_needs_it(split):
    for name in (RivalName.VBPR, RivalName.FREEDOM, RivalName.MGCN):
        plan = plan_rival(name, SMALL)
        with pytest.raises(InputError, match="needs modalities"):
            plan.build(split.train, {}, plan.config.model, torch.Generator(), CPU)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [("rival.unknown=1", "rival.unknown"), ("rival.l2=-1", "rival.l2"), ("rival.l2=x", "number")],
)
def test_settings_that_do_not_fit_are_refused(assignment, message):
    with pytest.raises(InputError, match=message):
        plan_rival(RivalName.MGCN, (assignment,))


def test_settings_and_shared_hyper_parameters_arrive():
    plan = plan_rival(RivalName.FREEDOM, ("rival.pruned=0.5", "model.dim=32"))
    assert plan.settings.pruned == 0.5
    assert plan.config.model.dim == 32


@pytest.mark.parametrize("modal_line", [False, True])
def test_drepmrec_trains_a_rival_as_its_backbone(dataset, split, modal_line):
    config = FitConfig.model_validate({"model": {"dim": 16, "negatives": 8}}).model
    build = as_backbone(plan_rival(RivalName.MGCN, SMALL), modal_line)
    model = build(split.train, dataset.modalities, config, torch.Generator().manual_seed(0), CPU)
    torch.stack(list(model.loss(whole_batch(split)).values())).sum().backward()
    assert model.backbone.light_gcn.embeddings.users.grad.abs().sum() > 0
    assert model.modalities == (["image", "text"] if modal_line else [])
