"""Forms of alignment of the two lines, as additional loss terms: what papers do beside BMA's own.

Each form adds a term of the fused vectors to the loss of whole histories and nothing else. They are
here and not in the model since they are compared on equal terms with what is there (`python -m
benchmarks.quality alignment`).
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.behaviour import initial_embedding
from models.drepmrec import BEHAVIOUR, DRepMRec
from models.graphs import nearest_neighbours
from models.modal import mean_of_layers, unit
from models.ranking import rank_histories
from models.sparse import rows
from models.trainable import HistoryBatch
from training.fitting.model_factory import build_model
from training.fitting.trainer import Build


class Form(nn.Module, ABC):
    """An additional loss term of batches."""

    @abstractmethod
    def forward(self, model: DRepMRec, users: Tensor, items: Tensor, batch: HistoryBatch) -> Tensor:
        """The term of a batch, a scalar.

        Args:
            model: the model; its fused vectors have the columns of the behaviour line and then
                those of the modal line.
            users: [R, 2 · dim], one for each part of a history: the user without it.
            items: [I, 2 · dim].
            batch: the histories.
        """


class SoftPositives(Form):
    """Soft positives: an item of a history stands for one of its nearest neighbours by content.

    The term is L_rank(u, j) - L_rank(u, i), j drawn from the neighbours of i in the modality of the
    largest weight; with weight ε the loss is (1 - ε) L_rank(u, i) + ε L_rank(u, j).
    """

    neighbours: Tensor

    def __init__(self, model: DRepMRec) -> None:
        super().__init__()
        best = max(model.modality_weights, key=model.modality_weights.__getitem__)
        encoder: Any = model.encoders[model.modalities.index(best)]
        found, cosines = nearest_neighbours(
            encoder.features, encoder.present[:, 0] > 0, model.config.neighbours
        )
        own = torch.arange(len(found)).unsqueeze(1)
        alike = torch.where((found >= 0) & (cosines > 0), found, own)  # itself where there is none
        self.register_buffer("neighbours", alike, persistent=False)
        self._generator = torch.Generator().manual_seed(0)

    def forward(self, model: DRepMRec, users: Tensor, items: Tensor, batch: HistoryBatch) -> Tensor:
        """See `Form`."""
        drawn = torch.randint(
            self.neighbours.shape[1], (len(batch.item_idx),), generator=self._generator
        )
        alike = self.neighbours[batch.item_idx, drawn.to(batch.item_idx.device)]
        soft, hard = (
            rank_histories(users, items, model.bias, each, model.config)
            for each in (batch._replace(item_idx=alike), batch)
        )
        return soft - hard


class Directed(Form):
    """Directed alignment, item by item, from the line that fits an item's users less to the better.

    FETTLE's (2024): with s_ℓ(i) the mean cosine of line ℓ's vector of item i with those of its
    users in the batch, T(a) = a + W a takes the vectors a of the worse line to those b of the
    better one by InfoNCE, b without a gradient; and users must like T(a) no less than a.
    """

    LIKED = 1 / 6
    """Weight of the second condition."""

    def __init__(self, model: DRepMRec) -> None:
        super().__init__()
        self.maps = nn.ParameterList(torch.zeros(model.config.dim, model.config.dim) for _ in "bm")
        self.log_temperature = nn.Parameter(torch.tensor(0.1).log())

    def forward(self, model: DRepMRec, users: Tensor, items: Tensor, batch: HistoryBatch) -> Tensor:
        """See `Form`."""
        item_idx, place = torch.unique(batch.item_idx, return_inverse=True)
        of_lines = [
            (unit(u.detach()), unit(rows(i, item_idx)))
            for u, i in zip(_lines(model, users), _lines(model, items), strict=True)
        ]
        asking = [self._means(u[batch.part], place, len(item_idx)) for u, _ in of_lines]
        fits = [(u * i.detach()).sum(1) for u, (_, i) in zip(asking, of_lines, strict=True)]
        loss = items.new_zeros(())
        temperature = self.log_temperature.exp().clamp(0.001, 0.5)
        for worse, better in ((0, 1), (1, 0)):
            some = (fits[better] > fits[worse]).nonzero()[: model.config.compared, 0]
            if len(some) < 2:
                continue
            a, b = of_lines[worse][1][some], of_lines[better][1][some].detach()
            moved = unit(a + a @ self.maps[worse])
            target = torch.arange(len(some), device=items.device)
            liked = (asking[worse][some] * (a - moved)).sum(1).mean()
            loss = loss + F.cross_entropy(moved @ b.T / temperature, target) + self.LIKED * liked
        return loss

    @staticmethod
    def _means(values: Tensor, place: Tensor, n: int) -> Tensor:
        sums = values.new_zeros(n, values.shape[1]).index_add(0, place, values)
        return sums / torch.bincount(place, minlength=n).unsqueeze(1)


class Distillation(Form):
    """Distillation of the scores: KL(p ‖ p_ℓ) for each line ℓ, the fused p without a gradient.

    p is the softmax over an item of a history and the batch's negatives. No pair of vectors of the
    two lines is compared: a control of the other forms.
    """

    def __init__(self, _: DRepMRec) -> None:
        super().__init__()

    def forward(self, model: DRepMRec, users: Tensor, items: Tensor, batch: HistoryBatch) -> Tensor:
        """See `Form`."""
        spread = slice(None, None, -(-len(batch.item_idx) // model.config.compared))
        part, item_idx = batch.part[spread], batch.item_idx[spread]

        def log_p(u: Tensor, i: Tensor) -> Tensor:
            asking = rows(u, part)
            wanted = (asking * rows(i, item_idx)).sum(1, keepdim=True)
            scores = torch.cat([wanted, asking @ rows(i, batch.negatives).T], 1)
            return torch.log_softmax(scores / model.config.temperature, 1)

        fused = log_p(users, items).detach()
        lines = zip(_lines(model, users), _lines(model, items), strict=True)
        losses = [
            F.kl_div(log_p(unit(u), unit(i)), fused, log_target=True, reduction="batchmean")
            for u, i in lines
        ]
        return torch.stack(losses).sum()


class GeneratedBehaviour(Form):
    """Generated behaviour: some items play new, as in DropoutNet (Volkovs et al. 2017).

    The term is L_rank(u, c) - L_rank(u, i): with weight ε the loss is (1 - ε) L_rank(u, i) +
    ε L_rank(u, c). c are the items' vectors, but those of a share of the items, drawn for each
    batch, are generated from content: the behaviour line by a map of the gated features, the modal
    line without free embeddings, the bias as the mean bias and a constant. Users are made of
    trained vectors, which thus become what content can predict.
    """

    NEW = 0.2
    """Share of the items that play new."""

    def __init__(self, model: DRepMRec) -> None:
        super().__init__()
        self._generator = torch.Generator().manual_seed(0)
        dim = model.config.dim
        self.maps = nn.ParameterList(
            initial_embedding(dim, dim, self._generator) for _ in model.modalities
        )
        self.newcomer = nn.Parameter(torch.zeros(()))

    def forward(self, model: DRepMRec, users: Tensor, items: Tensor, batch: HistoryBatch) -> Tensor:
        """See `Form`."""
        drawn = torch.rand(len(items), generator=self._generator) < self.NEW
        new = drawn.to(items.device)
        mixed = torch.where(new.unsqueeze(1), self._generated(model), items)
        bias = None
        if model.bias is not None:
            bias = torch.where(new, model.bias.detach().mean() + self.newcomer, model.bias)
        generated = rank_histories(users, mixed, bias, batch, model.config)
        return generated - rank_histories(users, items, model.bias, batch, model.config)

    def _generated(self, model: DRepMRec) -> Tensor:
        """Fused vectors of content alone [I, 2 · dim]."""
        encoders: Any = dict(zip(model.modalities, model.encoders, strict=True))
        gated = {name: e.gate(e.features) * e.present for name, e in encoders.items()}
        behaviour = [
            weight * gated[name] @ to_behaviour
            for (name, weight), to_behaviour in zip(
                model.modality_weights.items(), self.maps, strict=True
            )
        ]
        modal = {
            name: mean_of_layers(encoder.item_graph, gated[name], encoder.item_layers)
            for name, encoder in encoders.items()
        }
        return model.fuse({BEHAVIOUR: torch.stack(behaviour).sum(0)} | modal)


FORMS: dict[str, type[Form]] = {
    "soft_positives": SoftPositives,
    "directed": Directed,
    "distillation": Distillation,
    "generated_behaviour": GeneratedBehaviour,
}
"""Forms by name."""


class WithForm(DRepMRec):
    """DRepMRec, fitted to whole histories with an additional loss term.

    Args:
        model: the model without it, whose parts this one takes over.
        form: the term.
        weight: of the term.
    """

    def __init__(self, model: DRepMRec, form: Form, weight: float) -> None:
        encoders: Any = dict(zip(model.modalities, model.encoders, strict=True))
        unused = torch.Generator().manual_seed(0)  # it would draw the projections
        super().__init__(
            model.backbone, encoders, model.history, model.config, unused, model.linear
        )
        self.form, self.weight = form, weight

    def _terms_of_fused(
        self, users: Tensor, items: Tensor, batch: HistoryBatch
    ) -> dict[str, Tensor]:
        form = self.weight * self.form(self, users, items, batch)
        return super()._terms_of_fused(users, items, batch) | {"form": form}


def build_with(name: str, weight: float) -> Build[DRepMRec]:
    """A builder of DRepMRec with a form.

    Args:
        name: of the form, a key of FORMS.
        weight: of its term.
    """

    def build(*arguments: Any) -> DRepMRec:
        model = build_model(*arguments)
        return WithForm(model, FORMS[name](model), weight).to(arguments[-1])

    return build


def _lines(model: DRepMRec, fused: Tensor) -> tuple[Tensor, Tensor]:
    """Columns of the behaviour line and of the modal line."""
    dim = model.config.dim
    return fused[:, :dim], fused[:, dim : 2 * dim]
