"""DRepMRec (arXiv 2404.11119): two decoupled lines, aligned (BMA) and supervised (SSS), then fused.

Read beside `docs/paper-to-code.md`. The paper's code was never published; where it leaves freedom
the configuration names the choice.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.alignment import (
    inter_alignment,
    intra_alignment,
    modality_alignment,
    present,
    similarity_supervised_signal,
)
from models.behaviour import initial_embedding
from models.config import ModelConfig
from models.history import History
from models.losses import bpr, sampled_softmax
from models.modal import ModalEncoder, unit
from models.sparse import rows

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
        backbone: the behaviour line; `forward()` returns users or None, and items, of width
            config.dim.
        encoders: the modal line, a `ModalEncoder` for each modality; may be empty.
        history: the train interactions; makes users where a line has none.
        config: hyper-parameters.
        generator: for the initial projections.
    """

    def __init__(
        self,
        backbone: nn.Module,
        encoders: dict[str, ModalEncoder],
        history: History,
        config: ModelConfig,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone
        self.history = history
        # nn.ModuleDict refuses some names that a modality may have; a list refuses none.
        self.modalities = list(encoders)
        self.encoders = nn.ModuleList(encoders.values())
        self.projections = nn.ParameterList(
            initial_embedding(config.dim, config.dim, generator) for _ in encoders
        )
        n_items = history.mean.shape[1]
        self.bias = nn.Parameter(torch.zeros(n_items)) if config.item_bias else None

    def lines(self) -> dict[str, Vectors]:
        """Vectors of the behaviour line, then of each modality, before fusion, [·, dim] each.

        Items of a line whose users are made of them are on the unit sphere, so that each item of
        a history counts the same.
        """
        users, items = self.backbone()
        vectors = {BEHAVIOUR: self._from_history(items) if users is None else Vectors(users, items)}
        for name, encoder in zip(self.modalities, self._encoders(), strict=True):
            line = self._from_history(encoder())
            vectors[name] = Vectors(encoder.propagate_users(line.users), line.items)
        return vectors

    def _from_history(self, items: Tensor) -> Vectors:
        items = unit(items)
        return Vectors(self.history.users(items), items)

    def _encoders(self) -> list[ModalEncoder]:
        return [encoder for encoder in self.encoders if isinstance(encoder, ModalEncoder)]

    def part_weights(self) -> dict[str, float]:
        """Length of each line's part of a fused vector; the squares add up to 1."""
        modal = self.config.modal_weight / max(len(self.modalities), 1) ** 0.5
        weights = {BEHAVIOUR: 1.0} | dict.fromkeys(self.modalities, modal)
        total = sum(w * w for w in weights.values()) ** 0.5
        return {name: w / total for name, w in weights.items()}

    def fuse(self, parts: list[Tensor]) -> Tensor:
        """Fusion: each line and modality on its own sphere, then side by side or summed.

        Side by side, a score is the weighted sum of the parts' cosines, which is what makes it
        explainable part by part.

        Args:
            parts: [n, dim] of the behaviour line, then of each modality.

        Returns:
            [n, (1 + M) · dim] or [n, dim].
        """
        weighted = [w * unit(x) for w, x in zip(self.part_weights().values(), parts, strict=True)]
        if self.config.fusion == "concat":
            return torch.cat(weighted, 1)
        return unit(torch.stack(weighted).sum(0))

    def forward(self) -> Vectors:
        """The fused vectors; score(u, i) = ⟨z_u, z_i⟩, the item's bias in a column of its own."""
        lines = list(self.lines().values())
        users, items = self.fuse([v.users for v in lines]), self.fuse([v.items for v in lines])
        if self.bias is not None:
            users = torch.cat([users, users.new_ones(len(users), 1)], 1)
            items = torch.cat([items, self.bias.unsqueeze(1)], 1)
        return Vectors(users, items)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The weighted terms of the loss by name; their sum is what is minimised."""
        config, lines, batch = self.config, self.lines(), self._informative(batch)
        users = self._batch_users(lines, batch)
        items = [rows(v.items, batch.item_idx) for v in lines.values()]
        drawn = [rows(v.items, batch.negatives) for v in lines.values()]
        rank = self._ranking(self.fuse(users), self.fuse(items), self.fuse(drawn), batch)
        terms = {"rank": rank}
        if config.line_ranking:
            terms["line_rank"] = config.line_ranking * self._line_ranking(
                users, items, drawn, batch
            )
        if config.intra_alignment:
            terms["intra"] = config.intra_alignment * intra_alignment(users, items)
        if self.modalities:
            terms |= self._modal_terms(lines, batch)
        return terms

    def _modal_terms(self, lines: dict[str, Vectors], batch: Batch) -> dict[str, Tensor]:
        config, encoders = self.config, self._encoders()
        items = torch.unique(batch.item_idx)
        modal = [lines[name].items for name in self.modalities]
        terms = {}
        if config.modality_alignment:
            terms["modality"] = config.modality_alignment * modality_alignment(
                encoders, modal, items, config.alignment_temperature
            )
        if config.inter_alignment:
            terms["inter"] = config.inter_alignment * self._inter_alignment(lines, batch, items)
        if config.sss:
            terms["sss"] = config.sss * similarity_supervised_signal(
                encoders, modal, items, config.temperature
            )
        return terms

    def _informative(self, batch: Batch) -> Batch:
        """Without the rows that leave nothing of the user when their item is left out.

        Kept in, they teach the bias what is popular with users who are nobody; valid scores fall.
        """
        if not (self.config.leave_one_out and self.config.backbone == "items"):
            return batch
        kept = rows(self.history.counts, batch.user_idx)[:, 0] > 1
        if not kept.any():
            return batch
        return batch._replace(user_idx=batch.user_idx[kept], item_idx=batch.item_idx[kept])

    def _batch_users(self, lines: dict[str, Vectors], batch: Batch) -> list[Tensor]:
        """For each line the users [B, dim] to whom the batch's items are ranked.

        Where a user is the mean of items, the item of the same row is left out.
        """
        users = {name: rows(v.users, batch.user_idx) for name, v in lines.items()}
        if not self.config.leave_one_out:
            return list(users.values())
        for name, vectors in lines.items():
            if name == BEHAVIOUR and self.config.backbone != "items":
                continue
            # Of the layers of the user–user graph, the user's own mean is the first.
            layers = 1 if name == BEHAVIOUR else self.config.user_layers + 1
            means = vectors.users if layers == 1 else self.history.users(vectors.items)
            others = self.history.without(means, vectors.items, batch.user_idx, batch.item_idx)
            users[name] = users[name] + (others - rows(means, batch.user_idx)) / layers
        return list(users.values())

    def _ranking(self, users: Tensor, items: Tensor, drawn: Tensor, batch: Batch) -> Tensor:
        """L_rank of users [B, D] for their items [B, D] against drawn items [N, D]."""
        positive = (users * items).sum(1)
        negative = users @ drawn.T
        if self.bias is not None:
            bias = self.bias.unsqueeze(1)
            positive = positive + rows(bias, batch.item_idx)[:, 0]
            negative = negative + rows(bias, batch.negatives)[:, 0]
        drawn_itself = batch.negatives.unsqueeze(0) == batch.item_idx.unsqueeze(1)
        negative = negative.masked_fill(drawn_itself, -torch.inf)
        temperature = self.config.temperature
        if self.config.ranking == "softmax":
            return sampled_softmax(positive, negative, temperature)
        return bpr(positive / temperature, negative / temperature)

    def _line_ranking(
        self, users: list[Tensor], items: list[Tensor], drawn: list[Tensor], batch: Batch
    ) -> Tensor:
        """L_rank(B) + L_rank(M): each line ranks on its own, the modal one as a whole."""

        def side_by_side(parts: list[Tensor]) -> Tensor:
            return unit(torch.cat([unit(x) for x in parts], 1))

        loss = self._ranking(unit(users[0]), unit(items[0]), unit(drawn[0]), batch)
        if self.modalities:
            u, i, d = (side_by_side(parts[1:]) for parts in (users, items, drawn))
            loss = loss + self._ranking(u, i, d, batch)
        return loss

    def _inter_alignment(self, lines: dict[str, Vectors], batch: Batch, items: Tensor) -> Tensor:
        """BMA, inter, of the batch's users and items with each modality."""
        config, users = self.config, torch.unique(batch.user_idx)
        loss = torch.zeros((), device=users.device)
        for name, encoder, projection in zip(
            self.modalities, self._encoders(), self.projections, strict=True
        ):
            for side, idx in enumerate((users, present(encoder, items))):
                loss = loss + inter_alignment(
                    rows(lines[BEHAVIOUR][side], idx),
                    rows(lines[name][side], idx),
                    projection,
                    config.alignment_temperature,
                    config.alignment_reach,
                )
        return loss / len(self.modalities)
