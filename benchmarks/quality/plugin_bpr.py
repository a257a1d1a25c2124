"""The paper's plug-in as papers run it: a modal line under a baseline's own BPR loss, by a sum.

    h = h_B + h_M,  L = L_baseline(h) + c · [InfoNCE(h_M,u → h_B,u) + InfoNCE(h_M,i → h_B,i)]

h_B are the baseline's vectors and h_M those of DRepMRec's modal line, users being the mean of their
items; L_baseline has BPR of h in place of BPR of h_B, where h_M,u leaves out the item that is
ranked, as in DRepMRec. BMA has worked where c > 0 is better than c = 0 *and* than the control,
InfoNCE(h_u → h_i): it has the gradient of a softmax over the batch, too, and no pair across the
lines.
"""

from typing import Any

import torch
from torch import Tensor

from bundle.csr import Csr
from models.baselines.base import BaselineModel
from models.config import ModelConfig
from models.drepmrec import DRepMRec
from models.losses import info_nce_one_way
from models.sparse import rows
from models.trainable import Batch, Trainable, Vectors
from training.baselines.registry import BaselinePlan
from training.data.dataset import Modality
from training.fitting.model_factory import build_model
from training.fitting.trainer import Build

TEMPERATURE = 0.2
"""Temperature of InfoNCE, that of MGCN's contrastive loss."""


class PluggedIn(Trainable):
    """A baseline with a modal line, fitted by the baseline's loss.

    Args:
        baseline: the baseline; a contrastive loss of its own should have the weight 0.
        modal: a model of which the modal line is used and nothing else.
        contrast: pairs that InfoNCE compares: `lines`, the two lines of each user and item, or
            `control`, users with their items.
        weight: c, of InfoNCE.
    """

    def __init__(
        self, baseline: BaselineModel, modal: DRepMRec, contrast: str, weight: float
    ) -> None:
        super().__init__()
        self.baseline, self.history = baseline, modal.history
        self.encoders: Any = modal.encoders
        self.shares = list(modal.modality_weights.values())
        self.contrast, self.weight = contrast, weight

    def begin_epoch(self, generator: torch.Generator) -> None:
        """Draw what the baseline draws."""
        self.baseline.begin_epoch(generator)

    def forward(self) -> Vectors:
        """Users [U, D] and items [I, D], the sums of both lines."""
        return _sum(self.baseline(), self._modal_line())

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The baseline's terms, with BPR of the sums, and InfoNCE."""
        behaviour, modal = self.baseline.ranked(), self._modal_line()
        both = _sum(behaviour, modal)
        user_idx, item_idx = batch.user_idx, batch.item_idx
        others = self.history.without(modal.users, modal.items, user_idx, item_idx)
        users = rows(behaviour.users, user_idx) + others
        rank = self.baseline.ranking(both, batch, users)
        terms = self.baseline.loss(batch) | {"rank": rank}
        if self.weight:
            if self.contrast == "lines":
                pairs = [
                    (rows(modal.users, user_idx), rows(behaviour.users, user_idx)),
                    (rows(modal.items, item_idx), rows(behaviour.items, item_idx)),
                ]
            else:
                pairs = [(users, rows(both.items, item_idx))]
            losses = [info_nce_one_way(*pair, TEMPERATURE) for pair in pairs]
            terms["contrast"] = self.weight * torch.stack(losses).sum()
        return terms

    def _modal_line(self) -> Vectors:
        items = torch.stack(
            [share * encoder() for share, encoder in zip(self.shares, self.encoders, strict=True)]
        ).sum(0)
        return Vectors(self.history.users(items), items)


def plugged_in(baseline: BaselinePlan, contrast: str, weight: float) -> Build[PluggedIn]:
    """A builder of a baseline with a modal line; arguments as of `PluggedIn`."""

    def build(
        train: Csr,
        modalities: dict[str, Modality],
        config: ModelConfig,
        generator: torch.Generator,
        device: torch.device,
    ) -> PluggedIn:
        of_baseline = baseline.build(train, modalities, config, generator, device)
        plain = config.model_copy(update={"linear_columns": 0})
        modal = build_model(train, modalities, plain, generator, device)
        return PluggedIn(of_baseline, modal, contrast, weight)

    return build


def _sum(a: Vectors, b: Vectors) -> Vectors:
    return Vectors(a.users + b.users, a.items + b.items)
