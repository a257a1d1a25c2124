"""What rivals are made of, from a data set and a split."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from bundle.errors import InputError
from models.config import ModelConfig
from training.build import item_neighbours
from training.dataset import Modality


@dataclass(frozen=True)
class Ingredients:
    """What rivals are made of: train interactions [nnz] of U × I, content, hyper-parameters."""

    user_idx: Tensor
    item_idx: Tensor
    n_users: int
    n_items: int
    modalities: dict[str, Modality]
    config: ModelConfig
    generator: torch.Generator
    device: torch.device

    @property
    def interactions(self) -> tuple[Tensor, Tensor, int, int]:
        """The first arguments of every rival."""
        return self.user_idx, self.item_idx, self.n_users, self.n_items

    def given_features(self) -> list[Tensor]:
        """[I, F_m] of each modality, as the data have them."""
        if not self.modalities or not all(m.features.shape[1] for m in self.modalities.values()):
            raise InputError("this model needs modalities, and features of each of them")
        return [torch.from_numpy(modality.features) for modality in self.modalities.values()]

    def features(self) -> list[Tensor]:
        """[I, F_m] of each modality, unit or zero rows, as DRepMRec gets them."""
        return [F.normalize(features, dim=1) for features in self.given_features()]

    def neighbours(self) -> list[tuple[Tensor, Tensor]]:
        """Neighbours and cosines [I, k] of each modality, those of the data where there are."""
        k = self.config.neighbours
        return [
            item_neighbours(modality, features, k, self.device)
            for modality, features in zip(self.modalities.values(), self.features(), strict=True)
        ]
