"""Hyper-parameters of the baselines; those shared with DRepMRec (dim, layers, k) are ModelConfig's.

Defaults are those of the papers' code or of the toolbox MMRec.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from models.config import Positive, Weight

Share = Annotated[float, Field(ge=0, lt=1)]


class PairwiseConfig(BaseModel):
    """Hyper-parameters of every model trained by BPR."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    l2: Weight = 1e-4
    """λ: weight of L₂ over a batch's embeddings (halved squares, mean over the batch)."""


class FreedomConfig(BaseModel):
    """Hyper-parameters of FREEDOM, whose loss has no L₂ term."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    pruned: Share = 0.8
    """ρ: fraction of interactions pruned from the graph in each epoch."""
    modality_weights: dict[str, Weight] = {"image": 0.1, "text": 0.9}
    """α_m: weights of the modalities in the item–item graph; equal if a modality has none here."""
    modal_ranking: Weight = 1e-3
    """λ: weight of BPR on each modality's projections."""


class MgcnConfig(PairwiseConfig):
    """Hyper-parameters of MGCN."""

    as_code: bool = True
    """Reading of the paper where it leaves a choice. true: the authors' code; false: DRepMRec."""
    contrast: Weight = 0.01
    """λ_C: weight of the contrastive loss (InfoNCE) between behaviour and side vectors."""
    contrast_temperature: Positive = 0.2
    """τ: temperature of the contrastive loss."""
