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
    """Users [U, D] and items [I, D]; score(u, i) is their inner product."""

    users: Tensor
    items: Tensor


class Line(NamedTuple):
    """One line's vectors.

    Attributes:
        items: [I, D].
        users: [U, D]; None where they are the mean of their items.
        layers: the users are the mean of so many layers, the first of which is the mean of their
            items; 0 where they are vectors of their own.
    """

    items: Tensor
    users: Tensor | None = None
    layers: int = 1


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

    def lines(self) -> dict[str, Line]:
        """The behaviour line, then each modality, before fusion, [·, dim] each.

        Items of a line whose users are made of them are on the unit sphere, so that each item of
        a history counts the same.
        """
        users, items = self.backbone()
        lines = {BEHAVIOUR: Line(unit(items)) if users is None else Line(items, users, 0)}
        for name, encoder in zip(self.modalities, self._encoders(), strict=True):
            items = unit(encoder())
            if encoder.user_graph is None:
                lines[name] = Line(items)
            else:
                users = encoder.propagate_users(self.history.users(items))
                lines[name] = Line(items, users, encoder.user_layers + 1)
        return lines

    def users_of(self, line: Line) -> Tensor:
        """[U, dim]."""
        return self.history.users(line.items) if line.users is None else line.users

    @property
    def folds_in(self) -> bool:
        """Whether a user is nothing but the items of a history, so that everybody has a vector."""
        return self.config.backbone == "items" and self.config.user_layers == 0

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
        items = self.fuse([line.items for line in lines])
        if self.folds_in:
            users = unit(self.history.users(items))
        else:
            users = self.fuse([self.users_of(line) for line in lines])
        if self.bias is not None:
            users = torch.cat([users, users.new_ones(len(users), 1)], 1)
            items = torch.cat([items, self.bias.unsqueeze(1)], 1)
        return Vectors(users, items)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The weighted terms of the loss by name; their sum is what is minimised."""
        config, lines, batch = self.config, self.lines(), self._informative(batch)
        items = self.fuse([line.items for line in lines.values()])
        if self.folds_in:
            users = unit(self._batch_users(Line(items), batch))
        else:
            users = self.fuse([self._batch_users(line, batch) for line in lines.values()])
        terms = {"rank": self._ranking(users, items, batch)}
        if config.line_ranking:
            terms["line_rank"] = config.line_ranking * self._line_ranking(lines, batch)
        if config.intra_alignment:
            terms["intra"] = config.intra_alignment * intra_alignment(
                [self._batch_users(line, batch) for line in lines.values()],
                [rows(line.items, batch.item_idx) for line in lines.values()],
            )
        if self.modalities:
            terms |= self._modal_terms(lines, batch)
        return terms

    def _modal_terms(self, lines: dict[str, Line], batch: Batch) -> dict[str, Tensor]:
        config, encoders = self.config, self._encoders()
        # Each of these terms compares all with all: more than a sample of the batch costs memory
        # and time by its square, and teaches nothing that the next batch would not.
        batch = batch._replace(
            user_idx=batch.user_idx[: config.compared], item_idx=batch.item_idx[: config.compared]
        )
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

    def _batch_users(self, line: Line, batch: Batch) -> Tensor:
        """The users [B, ·] of a line to whom the batch's items are ranked.

        Where a user is the mean of items, the item of the same row is left out.
        """
        if not (self.config.leave_one_out and line.layers):
            return rows(self.users_of(line), batch.user_idx)
        means = self.history.users(line.items)
        others = self.history.without(means, line.items, batch.user_idx, batch.item_idx)
        if line.users is None:
            return others
        change = others - rows(means, batch.user_idx)
        return rows(line.users, batch.user_idx) + change / line.layers

    def _ranking(self, users: Tensor, items: Tensor, batch: Batch) -> Tensor:
        """L_rank of users [B, D] for their items against drawn ones, both of items [I, D]."""
        items, drawn = rows(items, batch.item_idx), rows(items, batch.negatives)
        if self.bias is not None:
            bias = self.bias.unsqueeze(1)
            users = torch.cat([users, users.new_ones(len(users), 1)], 1)
            items = torch.cat([items, rows(bias, batch.item_idx)], 1)
            drawn = torch.cat([drawn, rows(bias, batch.negatives)], 1)
        temperature, idx = self.config.temperature, (batch.item_idx, batch.negatives)
        if self.config.ranking == "softmax":
            return sampled_softmax(users, items, drawn, *idx, temperature)
        positive, negative = (users * items).sum(1), users @ drawn.T
        drawn_itself = batch.item_idx.unsqueeze(1) == batch.negatives
        negative = negative.masked_fill(drawn_itself, -torch.inf)
        return bpr(positive / temperature, negative / temperature)

    def _line_ranking(self, lines: dict[str, Line], batch: Batch) -> Tensor:
        """L_rank(B) + L_rank(M): each line ranks on its own, the modal one as a whole."""
        behaviour, *modal = lines.values()
        users = [self._batch_users(line, batch) for line in modal]
        loss = self._ranking(
            unit(self._batch_users(behaviour, batch)), unit(behaviour.items), batch
        )
        if modal:
            side_by_side = (users, [line.items for line in modal])
            u, i = (unit(torch.cat([unit(x) for x in parts], 1)) for parts in side_by_side)
            loss = loss + self._ranking(u, i, batch)
        return loss

    def _inter_alignment(self, lines: dict[str, Line], batch: Batch, items: Tensor) -> Tensor:
        """BMA, inter, of the batch's users and items with each modality."""
        config, users = self.config, torch.unique(batch.user_idx)
        behaviour = lines[BEHAVIOUR]
        loss = torch.zeros((), device=users.device)
        for name, encoder, projection in zip(
            self.modalities, self._encoders(), self.projections, strict=True
        ):
            line, with_modality = lines[name], present(encoder, items)
            sides = (
                (self.users_of(behaviour), self.users_of(line), users),
                (behaviour.items, line.items, with_modality),
            )
            for of_behaviour, of_modality, idx in sides:
                loss = loss + inter_alignment(
                    rows(of_behaviour, idx),
                    rows(of_modality, idx),
                    projection,
                    config.alignment_temperature,
                    config.alignment_reach,
                )
        return loss / len(self.modalities)
