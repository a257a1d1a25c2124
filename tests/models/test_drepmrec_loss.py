"""The loss: its terms, which parameters a term moves, and the rows of a batch."""

import pytest
import torch

from models.drepmrec import DRepMRec
from models.fusion import Line
from models.modal import unit
from models.trainable import Batch, HistoryBatch
from tests.models.small_model import EVERY_TERM, N_ITEMS, interactions, make_batch, make_model


@pytest.mark.parametrize("user_layers", [0, 1])
def test_a_batchs_users_do_not_contain_the_item_that_is_ranked(user_layers: int) -> None:
    """Moving the ranked item moves no user of its row, except over the user–user graph."""
    model = make_model(user_layers=user_layers)
    with torch.no_grad():
        line = model.lines()["image"]
        before = model._batch_users(line, make_batch())
        moved = line.items.clone()
        moved[0] = -moved[0]
        line = line._replace(items=moved)
        if line.users is not None:
            still = model.lines()["image"]
            change = model.users_of(Line(moved)) - model.users_of(Line(still.items))
            line = line._replace(users=line.users + change / line.layers)
        after = model._batch_users(line, make_batch())
    ranked = make_batch().item_idx == 0
    torch.testing.assert_close(before[ranked], after[ranked])
    assert not torch.allclose(before[~ranked], after[~ranked])


def gradients(model: DRepMRec, term: str) -> set[str]:
    """Names of the parameters that a term's gradient moves."""
    model.zero_grad(set_to_none=True)
    model.loss(make_batch())[term].backward()
    return {
        name.split(".")[0]
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and parameter.grad.abs().sum() > 0
    }


def test_each_term_moves_what_it_should() -> None:
    model = make_model(**EVERY_TERM)
    lines = {"backbone", "encoders"}
    assert gradients(model, "rank") == lines | {"bias"}
    assert gradients(model, "line_rank") == lines | {"bias"}
    assert gradients(model, "intra") == lines
    assert gradients(model, "modality") == {"encoders"}
    assert gradients(model, "sss") == {"encoders"}
    assert gradients(model, "inter") == lines | {"projections"}


@pytest.mark.parametrize(
    ("reach", "moved"),
    [
        ("behaviour", {"backbone", "projections"}),
        ("modal", {"encoders", "projections"}),
    ],
)
def test_reach_of_inter_alignment_is_a_choice(reach: str, moved: set[str]) -> None:
    model = make_model(inter_alignment=0.1, alignment_reach=reach)
    assert gradients(model, "inter") == moved


def test_terms_are_there_exactly_when_they_have_a_weight() -> None:
    assert set(make_model(sss=0).loss(make_batch())) == {"rank"}
    expected = {"rank", "line_rank", "intra", "modality", "inter", "sss"}
    assert set(make_model(**EVERY_TERM).loss(make_batch())) == expected


def test_weights_scale_their_terms() -> None:
    once = make_model(sss=0.3, intra_alignment=0.1).loss(make_batch())
    twice = make_model(sss=0.6, intra_alignment=0.2).loss(make_batch())
    for name in ("sss", "intra"):
        torch.testing.assert_close(twice[name], 2 * once[name])
    torch.testing.assert_close(twice["rank"], once["rank"])


@pytest.mark.slow
@pytest.mark.parametrize("ranking", ["softmax", "bpr"])
@pytest.mark.parametrize("backbone", ["items", "lightgcn"])
def test_a_few_steps_order_what_was_liked_before_what_was_not(ranking: str, backbone: str) -> None:
    model = make_model(ranking=ranking, backbone=backbone, leave_one_out=False)
    optimiser = torch.optim.Adam(model.parameters(), 0.05)
    users, items = interactions()
    batch = Batch(users, items, torch.arange(N_ITEMS))
    for _ in range(80):
        optimiser.zero_grad()
        torch.stack(list(model.loss(batch).values())).sum().backward()
        optimiser.step()
    vectors = model()
    scores = vectors.users @ vectors.items.T
    liked = torch.zeros_like(scores, dtype=torch.bool)
    liked[users, items] = True
    assert scores[liked].mean() > scores[~liked].mean() + 0.3


def test_rows_that_leave_nothing_of_the_user_are_left_out() -> None:
    model = make_model()
    users, items = interactions()
    model.history.counts[[2, 5]] = 1.0
    batch = model._informative(make_batch())
    kept = (users != 2) & (users != 5)
    assert torch.equal(batch.user_idx, users[kept])
    assert torch.equal(batch.item_idx, items[kept])
    for everything in (make_model(leave_one_out=False), make_model(backbone="lightgcn")):
        assert torch.equal(everything._informative(make_batch()).user_idx, users)


def make_history_batch() -> HistoryBatch:
    """Users 2 and 1, whose histories have three parts and two, and all items but two."""
    users, items = interactions()
    of_user = [items[users == user] for user in (2, 1)]
    parts = [torch.arange(len(of)) * n // len(of) for of, n in zip(of_user, (3, 2), strict=True)]
    assert [len(of.unique()) for of in parts] == [3, 2]
    return HistoryBatch(
        torch.tensor([2, 1]),
        torch.tensor([0, 0, 0, 1, 1]),
        torch.cat([parts[0], parts[1] + 3]),
        torch.cat(of_user),
        torch.arange(N_ITEMS).flip(0)[2:],
    )


@pytest.mark.parametrize("discount", [0.0, 0.5])
def test_each_part_of_a_history_is_ranked_for_the_mean_of_the_others(discount: float) -> None:
    model, batch = make_model(history_parts=3, history_discount=discount), make_history_batch()
    temperature = model.config.temperature
    losses, weights = [], []
    with torch.no_grad():
        items = model().items
        fused, bias = items[:, :-1], items[:, -1]
        for row, owner in enumerate(batch.user_of_part):
            of_user = batch.user_of_part[batch.part] == owner
            own = batch.item_idx[batch.part == row]
            user = unit(fused[batch.item_idx[of_user & (batch.part != row)]].mean(0, keepdim=True))
            scores = (fused @ user[0] + bias) / temperature
            outside = batch.negatives[~torch.isin(batch.negatives, own)]
            for item in own:
                everything = torch.cat([scores[item : item + 1], scores[outside]]).logsumexp(0)
                losses.append(everything - scores[item])
                weights.append(float(of_user.sum()) ** -discount)
        expected = (torch.stack(losses) * torch.tensor(weights)).sum() / sum(weights)
        torch.testing.assert_close(model.history_loss(batch)["rank"], expected)


def test_the_loss_of_whole_histories_has_the_terms_of_the_modal_line() -> None:
    model = make_model(history_parts=3, inter_alignment=0.1, modality_alignment=0.1, sss=0.3)
    terms = model.history_loss(make_history_batch())
    assert set(terms) == {"rank", "modality", "inter", "sss"}
    assert all(term > 0 for term in terms.values())
    terms["rank"].backward()
    moved = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
    assert moved == {"backbone", "encoders", "bias"}
