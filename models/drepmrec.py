"""DRepMRec (arXiv 2404.11119): two decoupled lines, aligned (BMA), supervised (SSS) and fused.

`docs/design/paper-to-code.md` maps the paper to this code. The paper's code was never published;
where the paper leaves a choice, the configuration has a key for it.
"""

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
from models.encoders import CANCELLED
from models.fusion import Group, Line
from models.history import History, of_other_parts
from models.linear import LinearPart
from models.modal import ModalEncoder, unit
from models.ranking import rank_histories, rank_interactions
from models.sparse import rows
from models.trainable import Batch, HistoryBatch, Metrics, Trainable, Vectors

BEHAVIOUR = "behaviour"
LINEAR = "linear"


class DRepMRec(Trainable):
    """The complete model.

    Args:
        backbone: the behaviour line; `forward()` returns users (or None) and items of width
            config.dim.
        encoders: the modal line, one `ModalEncoder` per modality; may be empty.
        history: train interactions; represents users in lines that have none.
        config: hyper-parameters.
        generator: for the initial projections.
        linear: the linear part; None for none.

    Attributes:
        modal_weight: weight of the modal line, from the configuration and the number of
            interactions per item.
    """

    def __init__(
        self,
        backbone: nn.Module,
        encoders: dict[str, ModalEncoder],
        history: History,
        config: ModelConfig,
        generator: torch.Generator,
        linear: LinearPart | None = None,
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
        self.linear = linear

    def lines(self) -> dict[str, Line]:
        """The behaviour line and each modality before fusion, [·, dim] each."""
        users, items = self.backbone()
        lines = {BEHAVIOUR: Line(items, users)}
        for name, encoder in zip(self.modalities, self._encoders(), strict=True):
            lines[name] = Line(encoder())
            if encoder.user_graph is not None:
                users = encoder.propagate_users(self.users_of(lines[name]))
                lines[name] = Line(lines[name].items, users, encoder.user_layers + 1)
        return lines

    def users_of(self, line: Line) -> Tensor:
        """A line's users [U, dim]; means are taken over unit item vectors, which weigh the same."""
        return self.history.users(unit(line.items)) if line.users is None else line.users

    @property
    def modality_weights(self) -> dict[str, float]:
        """Weight of each modality within the modal line."""
        return {n: e.weight for n, e in zip(self.modalities, self._encoders(), strict=True)}

    @property
    def folds_in(self) -> bool:
        """True if users depend on their histories alone, so that new users can be encoded."""
        return self.config.backbone == "items" and self.config.user_layers == 0

    @property
    def whole_histories(self) -> bool:
        """True if the model is fitted with `history_loss`, and not with `loss`."""
        return self.config.whole_histories

    def _encoders(self) -> list[ModalEncoder]:
        return [encoder for encoder in self.encoders if isinstance(encoder, ModalEncoder)]

    def groups(self, parts: dict[str, Tensor]) -> list[Group]:
        """Fusion groups of the configuration; the squares of their norms add up to 1.

        Args:
            parts: [n, dim] of the behaviour line and of each modality, by name.
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
        """Fused vectors: the groups' vectors concatenated, [n, G · dim]; see `groups`."""
        return torch.cat([group.vector() for group in self.groups(parts)], 1)

    def forward(self) -> Vectors:
        """Fused vectors; score(u, i) = ⟨z_u, z_i⟩.

        The linear part, unless its weight is 0, comes after the lines. The last column holds the
        item bias, if any.
        """
        lines = self._fused_lines()
        if self.linear is None or not self.linear.used:
            return self._side_by_side(lines)
        return self._side_by_side(lines, self._beside(lines, self.linear()))

    def best_on_valid(self, metrics: Metrics, selected_on: str) -> dict[str, float]:
        """Metrics on valid with the best weight of the linear part."""
        fused = self._fused_lines()
        lines = self._side_by_side(fused)
        if self.linear is None:
            return metrics(lines)[0]
        linear = self._beside(fused, self.linear.vectors)
        return self.linear.choose(lambda weights: metrics(lines, linear, weights), selected_on)

    def _fused_lines(self) -> Vectors:
        lines = self.lines()
        items = self.fuse({name: line.items for name, line in lines.items()})
        if self.folds_in:
            return Vectors(unit(self.history.users(items)), items)
        return Vectors(self.fuse({n: self.users_of(line) for n, line in lines.items()}), items)

    def _beside(self, lines: Vectors, items: Tensor) -> Vectors:
        """Item vectors [I, n] beside those of fused lines, with the users that they give."""
        # One length for all columns, so that each item of a history counts alike in both.
        length = self.history.users(lines.items).norm(dim=1, keepdim=True).clamp_min(CANCELLED)
        return Vectors(self.history.users(items) / length, items)

    def _side_by_side(self, *parts: Vectors) -> Vectors:
        """Columns of the parts and of the item bias."""
        users, items = [part.users for part in parts], [part.items for part in parts]
        if self.bias is not None:
            users.append(users[0].new_ones(len(users[0]), 1))
            items.append(self.bias.unsqueeze(1))
        return Vectors(torch.cat(users, 1), torch.cat(items, 1))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Weighted loss terms by name; their sum is minimised."""
        config, lines, batch = self.config, self.lines(), self._informative(batch)
        items = self.fuse({name: line.items for name, line in lines.items()})
        if self.folds_in:
            users = unit(self._from_history(items, batch))
        else:
            users = self.fuse({n: self._batch_users(line, batch) for n, line in lines.items()})
        terms = {"rank": rank_interactions(users, items, self.bias, batch, config)}
        if config.line_ranking:
            terms["line_rank"] = config.line_ranking * self._line_ranking(lines, batch)
        if config.intra_alignment:
            terms["intra"] = config.intra_alignment * intra_alignment(
                [self._batch_users(line, batch) for line in lines.values()],
                [rows(line.items, batch.item_idx) for line in lines.values()],
            )
        return terms | self._modal_terms(lines, batch)

    def history_loss(self, batch: HistoryBatch) -> dict[str, Tensor]:
        """`loss` of a batch of users."""
        lines = self.lines()
        items = self.fuse({name: line.items for name, line in lines.items()})
        users = unit(of_other_parts(items, batch))
        return self._terms_of_fused(users, items, batch) | self._modal_terms(
            lines, batch.interactions(self.config.compared)
        )

    def _terms_of_fused(
        self, users: Tensor, items: Tensor, batch: HistoryBatch
    ) -> dict[str, Tensor]:
        """Terms that depend on fused vectors alone: of the users of parts [R, ·], items [I, ·]."""
        return {"rank": rank_histories(users, items, self.bias, batch, self.config)}

    def _modal_terms(self, lines: dict[str, Line], batch: Batch) -> dict[str, Tensor]:
        if not (encoders := self._encoders()):
            return {}
        config = self.config
        # These terms compare all rows with each other: their cost grows with the square of the
        # number of rows, and a sample suffices, because the next batch brings other rows.
        batch = batch._replace(
            user_idx=batch.user_idx[: config.compared], item_idx=batch.item_idx[: config.compared]
        )
        items, terms = torch.unique(batch.item_idx), {}
        modal = [lines[name].items for name in self.modalities]
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
        """The batch without interactions whose user has no other item to be represented by.

        Such a user is a zero vector, so the row would only train the item bias; valid scores fall.
        """
        if not (self.config.leave_one_out and self.config.backbone == "items"):
            return batch
        kept = rows(self.history.counts, batch.user_idx)[:, 0] > 1
        if not kept.any():
            return batch
        return batch._replace(user_idx=batch.user_idx[kept], item_idx=batch.item_idx[kept])

    def _from_history(self, items: Tensor, batch: Batch) -> Tensor:
        """Users [B, ·] as means of items [I, ·], by default without the item being ranked."""
        means = self.history.users(items)
        if not self.config.leave_one_out:
            return rows(means, batch.user_idx)
        return self.history.without(means, items, batch.user_idx, batch.item_idx)

    def _batch_users(self, line: Line, batch: Batch) -> Tensor:
        """A line's users [B, dim] of the batch's rows."""
        if line.users is None:
            return self._from_history(unit(line.items), batch)
        users = rows(line.users, batch.user_idx)
        if not (self.config.leave_one_out and line.layers):
            return users
        items = unit(line.items)
        means = self.history.users(items)
        others = self.history.without(means, items, batch.user_idx, batch.item_idx)
        return users + (others - rows(means, batch.user_idx)) / line.layers

    def _line_ranking(self, lines: dict[str, Line], batch: Batch) -> Tensor:
        """L_rank(B) + L_rank(M): each line ranks alone; the modal line is the sum of modalities."""
        behaviour, *modal = lines.values()
        users, items = self._batch_users(behaviour, batch), behaviour.items
        loss = rank_interactions(unit(users), unit(items), self.bias, batch, self.config)
        if modal:
            users = torch.stack([unit(self._batch_users(line, batch)) for line in modal]).sum(0)
            items = torch.stack([unit(line.items) for line in modal]).sum(0)
            loss += rank_interactions(unit(users), unit(items), self.bias, batch, self.config)
        return loss

    def _inter_alignment(self, lines: dict[str, Line], batch: Batch, items: Tensor) -> Tensor:
        """BMA, inter-alignment of the behaviour line with each modality, mean over modalities."""
        config, behaviour, users = self.config, lines[BEHAVIOUR], torch.unique(batch.user_idx)
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
