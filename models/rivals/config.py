"""Hyper-parameters of the rivals; what they share with DRepMRec (dim, layers, k) is ModelConfig's.

Defaults are those of the papers' code or of MMRec, a public toolbox.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from models.config import Positive, Weight

Share = Annotated[float, Field(ge=0, lt=1)]


class PairwiseConfig(BaseModel):
    """A model trained by BPR."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    l2: Weight = 1e-4
    """λ of L₂ over the embeddings of a batch, halved squares, mean over the batch."""


class FreedomConfig(BaseModel):
    """FREEDOM; its loss has no L₂."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    pruned: Share = 0.8
    """ρ: share of the interactions that an epoch's graph goes without."""
    modality_weights: dict[str, Weight] = {"image": 0.1, "text": 0.9}
    """α_m of the item–item graph; equal ones unless each of the data's modalities has one here."""
    modal_ranking: Weight = 1e-3
    """λ: weight of BPR on each modality's projections."""


class MgcnConfig(PairwiseConfig):
    """MGCN."""

    as_code: bool = True
    """Whether it follows the authors' code where the paper leaves room, or DRepMRec."""
    contrast: Weight = 0.01
    """λ_C: weight of InfoNCE between behaviour and side vectors."""
    contrast_temperature: Positive = 0.2
    """τ of it."""
