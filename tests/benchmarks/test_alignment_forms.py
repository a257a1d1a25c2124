"""Forms of alignment: of weight 0 they change nothing, and each moves what it should."""

from pathlib import Path

import pytest
import torch

from benchmarks.quality.alignment_forms import (
    FORMS,
    Directed,
    GeneratedBehaviour,
    SoftPositives,
    WithForm,
    build_with,
)
from benchmarks.quality.bench import Bench
from benchmarks.quality.runner import plan, run
from benchmarks.quality.tables import Job
from models.drepmrec import DRepMRec
from models.trainable import HistoryBatch
from tests.benchmarks.planted_bench import planted_bench
from training.fitting.batches import epoch_batches
from training.fitting.config import load_config
from training.fitting.model_factory import build_model

SHORT = ("model.dim=8", "optim.max_epochs=2", "optim.batch_users=16")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return planted_bench(tmp_path, SHORT)


@pytest.fixture
def model(bench: Bench) -> DRepMRec:
    config = load_config(None, list(SHORT)).model
    generator = torch.Generator().manual_seed(0)
    modalities = bench.dataset.modalities
    return build_model(bench.split.train, modalities, config, generator, torch.device("cpu"))


@pytest.fixture
def batch(bench: Bench) -> HistoryBatch:
    config, generator = load_config(None, list(SHORT)), torch.Generator().manual_seed(0)
    batches = epoch_batches(
        bench.split.train, config, generator, lambda step: step, torch.device("cpu"), True
    )
    first = next(iter(batches))
    assert isinstance(first, HistoryBatch)
    return first


@pytest.mark.parametrize("name", FORMS)
def test_a_form_of_weight_0_changes_nothing(name: str, bench: Bench) -> None:
    job = Job("with", form=(name, 0.0))
    assert plan(job, 0, bench).name != plan(Job("without"), 0, bench).name
    found, plain = run(job, 0, bench), run(Job("without"), 0, bench)
    assert found["settings"] == {"form": name, "weight": 0.0}
    assert found["test"] == plain["test"]
    assert found["users"] == plain["users"]


@pytest.mark.parametrize("name", FORMS)
def test_a_form_is_a_finite_term_with_a_gradient(
    name: str, model: DRepMRec, batch: HistoryBatch
) -> None:
    with_form = WithForm(model, FORMS[name](model), 0.5)
    terms = with_form.history_loss(batch)
    assert set(terms) - {"form"} == set(model.history_loss(batch))
    terms["form"].backward()
    found = [p.grad for p in with_form.parameters() if p.grad is not None]
    assert all(grad.isfinite().all() for grad in found)
    assert any(grad.abs().sum() > 0 for grad in found)


def test_soft_positives_are_neighbours_by_content(model: DRepMRec, batch: HistoryBatch) -> None:
    form = SoftPositives(model)
    assert (form.neighbours != torch.arange(len(form.neighbours)).unsqueeze(1)).any()
    own = torch.arange(len(form.neighbours)).unsqueeze(1)
    form.neighbours = own.expand_as(form.neighbours).clone()  # each item is its own neighbour
    users = torch.randn(len(batch.user_of_part), 16)
    items = torch.randn(len(own), 16)
    assert float(form(model, users, items, batch).detach()) == 0


def test_directed_alignment_moves_the_worse_line_alone(
    model: DRepMRec, batch: HistoryBatch
) -> None:
    dim, n_items = model.config.dim, len(model.bias) if model.bias is not None else 0
    items = torch.nn.functional.normalize(torch.randn(n_items, 2 * dim), dim=1)
    items.requires_grad_()
    users = torch.randn(len(batch.user_of_part), 2 * dim)
    users[:, dim:] = 0  # nothing fits the modal line: the behaviour line is better or level
    with torch.no_grad():  # ... and its vectors are those of their users
        users[:, :dim] = 1.0
        items[:, :dim] = 1.0
    Directed(model)(model, users, items, batch).backward()
    assert items.grad is not None
    assert items.grad[:, :dim].abs().sum() == 0
    assert items.grad[:, dim:].abs().sum() > 0


def test_items_that_play_new_are_ranked_by_content_alone(
    model: DRepMRec, batch: HistoryBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    form, encoder = GeneratedBehaviour(model), model._encoders()[0]
    assert encoder.gate is not None
    assert encoder.embedding is not None
    drawn = torch.Generator().manual_seed(0)
    shape = model().items[:, :16].shape
    items = torch.nn.functional.normalize(torch.randn(shape, generator=drawn), dim=1)
    items.requires_grad_()
    users = torch.randn(len(batch.user_of_part), 16, generator=drawn)
    monkeypatch.setattr(GeneratedBehaviour, "NEW", 0.0)
    assert float(form(model, users, items, batch).detach()) == 0
    # Where all items are new, their constant changes no order, and its gradient is rounding.
    monkeypatch.setattr(GeneratedBehaviour, "NEW", 0.5)
    content = [form.newcomer, *form.maps, *encoder.gate.parameters()]
    embeddings = [model.backbone.item_embedding, encoder.embedding]
    term = form(model, users, items.detach(), batch)
    grads = torch.autograd.grad(term, [*content, *embeddings], allow_unused=True)
    assert all(grad is not None and grad.abs().sum() > 0 for grad in grads[: len(content)])
    assert all(grad is None for grad in grads[len(content) :])


def test_builders_keep_the_random_numbers_of_the_default(bench: Bench) -> None:
    config = load_config(None, list(SHORT)).model
    models, states = [], []
    for build in (build_model, build_with("directed", 0.1)):
        generator = torch.Generator().manual_seed(3)
        models.append(
            build(
                bench.split.train,
                bench.dataset.modalities,
                config,
                generator,
                torch.device("cpu"),
            )
        )
        states.append(generator.get_state())
    assert torch.equal(*states)
    assert torch.equal(*(m().items for m in models))
