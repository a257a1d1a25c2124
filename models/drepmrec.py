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
        layers: of given users: they are the mean of so many layers, the first of which is the mean
            of their items; 0 where they are vectors of their own.
    """

    items: Tensor
    users: Tensor | None = None
    layers: int = 0


class Group(NamedTuple):
    """What shares columns of a fused vector, weight · n(Σ members).

    Attributes:
        weight: length of the columns' vector.
        members: [n, dim] of lines or modalities, by name.
    """

    weight: float
    members: dict[str, Tensor]

    def vector(self) -> Tensor:
        """[n, dim]."""
        return self.weight * unit(torch.stack(list(self.members.values())).sum(0))

    def parts(self) -> dict[str, Tensor]:
        """What each member adds to the vector: [n, dim], which sum to it."""
        length = torch.stack(list(self.members.values())).sum(0).norm(dim=1, keepdim=True)
        scale = self.weight / length.clamp_min(1e-12)  # as F.normalize: zero stays zero
        return {name: scale * member for name, member in self.members.items()}


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

    Attributes:
        modal_weight: of the modal line, by the configuration and the interactions per item.
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
        per_item = float(history.counts.sum()) / n_items
        surer = max(1.0, per_item / config.modal_support) ** 0.5
        self.modal_weight = config.modal_weight / surer
        self.bias = nn.Parameter(torch.zeros(n_items)) if config.item_bias else None

    def lines(self) -> dict[str, Line]:
        """The behaviour line, then each modality, before fusion, [·, dim] each."""
        users, items = self.backbone()
        lines = {BEHAVIOUR: Line(items, users)}
        for name, encoder in zip(self.modalities, self._encoders(), strict=True):
            lines[name] = Line(encoder())
            if encoder.user_graph is not None:
                users = encoder.propagate_users(self.users_of(lines[name]))
                lines[name] = Line(lines[name].items, users, encoder.user_layers + 1)
        return lines

    def users_of(self, line: Line) -> Tensor:
        """[U, dim]; of a history on the unit sphere, so that each item counts the same."""
        return self.history.users(unit(line.items)) if line.users is None else line.users

    @property
    def modality_weights(self) -> dict[str, float]:
        """Of each modality among the others of the modal line."""
        return {n: e.weight for n, e in zip(self.modalities, self._encoders(), strict=True)}

    @property
    def folds_in(self) -> bool:
        """Whether a user is nothing but the items of a history, so that everybody has a vector."""
        return self.config.backbone == "items" and self.config.user_layers == 0

    def _encoders(self) -> list[ModalEncoder]:
        return [encoder for encoder in self.encoders if isinstance(encoder, ModalEncoder)]

    def groups(self, parts: dict[str, Tensor]) -> list[Group]:
        """Which parts share columns, and how long each group's vector is; squares add up to 1.

        Args:
            parts: [n, dim] of the behaviour line, then of each modality.
        """
        weights = self.modality_weights
        total = sum(weight**2 for weight in weights.values()) ** 0.5
        each = {name: self.modal_weight * weight / total for name, weight in weights.items()}
        match self.config.fusion:
            case "lines":
                groups = [Group(1.0, {BEHAVIOUR: parts[BEHAVIOUR]})]
                if weights:
                    modal = {name: weight * parts[name] for name, weight in weights.items()}
                    groups.append(Group(self.modal_weight, modal))
            case "concat":
                groups = [Group(1.0, {BEHAVIOUR: parts[BEHAVIOUR]})]
                groups += [Group(each[name], {name: parts[name]}) for name in weights]
            case "sum":
                behaviour = {BEHAVIOUR: unit(parts[BEHAVIOUR])}
                modal = {name: each[name] * unit(parts[name]) for name in weights}
                groups = [Group(1.0, behaviour | modal)]
        length = sum(group.weight**2 for group in groups) ** 0.5
        return [group._replace(weight=group.weight / length) for group in groups]

    def fuse(self, parts: dict[str, Tensor]) -> Tensor:
        """Fusion: the groups' vectors side by side, [n, G · dim]; see `groups`."""
        return torch.cat([group.vector() for group in self.groups(parts)], 1)

    def forward(self) -> Vectors:
        """The fused vectors; score(u, i) = ⟨z_u, z_i⟩, the item's bias in a column of its own."""
        lines = self.lines()
        items = self.fuse({name: line.items for name, line in lines.items()})
        if self.folds_in:
            users = unit(self.history.users(items))
        else:
            users = self.fuse({name: self.users_of(line) for name, line in lines.items()})
        if self.bias is not None:
            users = torch.cat([users, users.new_ones(len(users), 1)], 1)
            items = torch.cat([items, self.bias.unsqueeze(1)], 1)
        return Vectors(users, items)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The weighted terms of the loss by name; their sum is what is minimised."""
        config, lines, batch = self.config, self.lines(), self._informative(batch)
        items = self.fuse({name: line.items for name, line in lines.items()})
        if self.folds_in:
            users = unit(self._from_history(items, batch))
        else:
            users = self.fuse({n: self._batch_users(line, batch) for n, line in lines.items()})
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

    def _from_history(self, items: Tensor, batch: Batch) -> Tensor:
        """Users [B, ·] as the mean of items [I, ·]; while ranking one of them, of the others."""
        means = self.history.users(items)
        if not self.config.leave_one_out:
            return rows(means, batch.user_idx)
        return self.history.without(means, items, batch.user_idx, batch.item_idx)

    def _batch_users(self, line: Line, batch: Batch) -> Tensor:
        """The users [B, dim] of a line to whom the batch's items are ranked."""
        if line.users is None:
            return self._from_history(unit(line.items), batch)
        users = rows(line.users, batch.user_idx)
        if not (self.config.leave_one_out and line.layers):
            return users
        items = unit(line.items)
        means = self.history.users(items)
        others = self.history.without(means, items, batch.user_idx, batch.item_idx)
        return users + (others - rows(means, batch.user_idx)) / line.layers

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
        loss = self._ranking(
            unit(self._batch_users(behaviour, batch)), unit(behaviour.items), batch
        )
        if modal:
            users = torch.stack([unit(self._batch_users(line, batch)) for line in modal]).sum(0)
            items = torch.stack([unit(line.items) for line in modal]).sum(0)
            loss = loss + self._ranking(unit(users), unit(items), batch)
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
