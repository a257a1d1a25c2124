"""DRepMRec (arXiv 2404.11119): two decoupled lines, aligned (BMA) and supervised (SSS), then fused.

Read beside `docs/paper-to-code.md`. The paper's code was never published; where it leaves freedom
the configuration names the choice.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.behaviour import initial_embedding
from models.config import ModelConfig
from models.losses import bpr, info_nce, pair_alignment, sampled_softmax, similarity_supervision
from models.modal import ModalEncoder, unit

BEHAVIOUR = "behaviour"


class Vectors(NamedTuple):
    """Users [U, D] and items [I, D] of one line, one modality or of the fused model."""

    users: Tensor
    items: Tensor


class Batch(NamedTuple):
    """Interactions (user_idx, item_idx) [B] and drawn items [N], shared by all of them."""

    user_idx: Tensor
    item_idx: Tensor
    negatives: Tensor


class DRepMRec(nn.Module):
    """The whole model.

    Args:
        backbone: the behaviour line; `forward()` returns users and items of width config.dim.
        encoders: the modal line, a `ModalEncoder` for each modality; may be empty.
        config: hyper-parameters.
        generator: for the initial projections.
    """

    def __init__(
        self,
        backbone: nn.Module,
        encoders: dict[str, ModalEncoder],
        config: ModelConfig,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone
        # nn.ModuleDict refuses some names that a modality may have; a list refuses none.
        self.modalities = list(encoders)
        self.encoders = nn.ModuleList(encoders.values())
        self.projections = nn.ParameterList(
            initial_embedding(config.dim, config.dim, generator) for _ in encoders
        )

    def lines(self) -> dict[str, Vectors]:
        """Vectors of the behaviour line, then of each modality, before fusion, [·, dim] each."""
        vectors = {BEHAVIOUR: Vectors(*self.backbone())}
        for name, encoder in zip(self.modalities, self.encoders, strict=True):
            vectors[name] = Vectors(*encoder())
        return vectors

    def part_weights(self) -> dict[str, float]:
        """Length of each part of a fused vector; the squares add up to 1."""
        modal = self.config.modal_weight / max(len(self.modalities), 1) ** 0.5
        weights = {BEHAVIOUR: 1.0} | dict.fromkeys(self.modalities, modal)
        total = sum(w * w for w in weights.values()) ** 0.5
        return {name: w / total for name, w in weights.items()}

    def fuse(self, lines: dict[str, Vectors]) -> Vectors:
        """Fusion: each line and modality on its own sphere, then side by side or summed.

        Side by side, a score is the weighted sum of the parts' cosines, which is what makes it
        explainable part by part.
        """
        weights = self.part_weights()
        users = [weights[name] * unit(v.users) for name, v in lines.items()]
        items = [weights[name] * unit(v.items) for name, v in lines.items()]
        if self.config.fusion == "concat":
            return Vectors(torch.cat(users, 1), torch.cat(items, 1))
        return Vectors(unit(torch.stack(users).sum(0)), unit(torch.stack(items).sum(0)))

    def forward(self) -> Vectors:
        """The fused vectors; score(u, i) = ⟨z_u, z_i⟩."""
        return self.fuse(self.lines())

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The weighted terms of the loss by name; their sum is what is minimised."""
        config, lines = self.config, self.lines()
        terms = {"rank": self._ranking(self.fuse(lines), batch)}
        if config.line_ranking:
            terms["line_rank"] = config.line_ranking * self._line_ranking(lines, batch)
        if config.intra_alignment:
            terms["intra"] = config.intra_alignment * self._pair_alignment(lines, batch)
        users, items = torch.unique(batch.user_idx), torch.unique(batch.item_idx)
        if config.modality_alignment:
            terms["modality"] = config.modality_alignment * self._modality_alignment(lines, items)
        if config.inter_alignment and self.modalities:
            terms["inter"] = config.inter_alignment * self._inter_alignment(lines, users, items)
        if config.sss:
            terms["sss"] = config.sss * self._similarity_supervision(lines, items)
        return terms

    def _ranking(self, vectors: Vectors, batch: Batch) -> Tensor:
        users = rows(vectors.users, batch.user_idx)
        items = rows(vectors.items, batch.item_idx)
        positive = (users * items).sum(1)
        negative = users @ rows(vectors.items, batch.negatives).T
        drawn_itself = batch.negatives.unsqueeze(0) == batch.item_idx.unsqueeze(1)
        negative = negative.masked_fill(drawn_itself, -torch.inf)
        if self.config.ranking == "softmax":
            return sampled_softmax(positive, negative, self.config.temperature)
        return bpr(positive / self.config.temperature, negative / self.config.temperature)

    def _pair_alignment(self, lines: dict[str, Vectors], batch: Batch) -> Tensor:
        """BMA, intra: the two sides of an interaction meet, in each line and modality."""
        losses = (
            pair_alignment(rows(v.users, batch.user_idx), rows(v.items, batch.item_idx))
            for v in lines.values()
        )
        return total(losses, batch.user_idx)

    def _line_ranking(self, lines: dict[str, Vectors], batch: Batch) -> Tensor:
        """L_rank(B) + L_rank(M): each line ranks on its own, the modal one as a whole."""
        behaviour = lines[BEHAVIOUR]
        loss = self._ranking(Vectors(unit(behaviour.users), unit(behaviour.items)), batch)
        if self.modalities:
            modal = [lines[name] for name in self.modalities]
            share = len(modal) ** -0.5
            users = share * torch.cat([unit(v.users) for v in modal], 1)
            items = share * torch.cat([unit(v.items) for v in modal], 1)
            loss = loss + self._ranking(Vectors(users, items), batch)
        return loss

    def _present(self, name: str, items: Tensor) -> Tensor:
        """Those of the items [n] that have the modality."""
        encoder = self._encoder(name)
        return items[encoder.present[items, 0] > 0]

    def _encoder(self, name: str) -> ModalEncoder:
        encoder = self.encoders[self.modalities.index(name)]
        assert isinstance(encoder, ModalEncoder)
        return encoder

    def _modality_alignment(self, lines: dict[str, Vectors], items: Tensor) -> Tensor:
        """BMA, intra: an item's vectors in two modalities find each other among the batch's."""
        losses = []
        for number, first in enumerate(self.modalities):
            for second in self.modalities[number + 1 :]:
                both = self._present(second, self._present(first, items))
                a_rows, b_rows = rows(lines[first].items, both), rows(lines[second].items, both)
                losses.append(info_nce(a_rows, b_rows, self.config.alignment_temperature))
        return total(losses, items)

    def _inter_alignment(self, lines: dict[str, Vectors], users: Tensor, items: Tensor) -> Tensor:
        """BMA, inter: a projected modal vector finds the behaviour vector of its user or item."""
        losses = []
        for name, projection in zip(self.modalities, self.projections, strict=True):
            for side, idx in enumerate((users, self._present(name, items))):
                behaviour = rows(lines[BEHAVIOUR][side], idx)
                modal = rows(lines[name][side], idx)
                if self.config.alignment_reach == "modal":
                    behaviour = behaviour.detach()
                elif self.config.alignment_reach == "behaviour":
                    modal = modal.detach()
                losses.append(
                    info_nce(modal @ projection, behaviour, self.config.alignment_temperature)
                )
        return total(losses, users) / len(self.modalities)

    def _similarity_supervision(self, lines: dict[str, Vectors], items: Tensor) -> Tensor:
        """SSS for each modality; one that is known by its graph alone has nothing to compare."""
        losses = []
        for name in self.modalities:
            encoder = self._encoder(name)
            present = self._present(name, items)
            if encoder.gate is not None and len(present) > 1:
                vectors, features = rows(lines[name].items, present), encoder.features[present]
                losses.append(similarity_supervision(vectors, features, self.config.temperature))
        return total(losses, items)


def rows(x: Tensor, idx: Tensor) -> Tensor:
    """x[idx]; unlike indexing, its gradient is summed in a fixed order on the CPU."""
    return F.embedding(idx, x)


def total(losses: Iterable[Tensor], like: Tensor) -> Tensor:
    """Sum of scalars, zero if there are none; `like` says on which device."""
    return sum(losses, start=torch.zeros((), device=like.device))
