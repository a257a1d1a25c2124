"""Hyper-parameters of the model: what changes the vectors, and nothing else."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Layers = Annotated[int, Field(ge=0, le=8)]


class ModelConfig(BaseModel):
    """DRepMRec: L = L_rank(fused) + w·(L_rank(B) + L_rank(M)) + α·intra + β·inter + γ·SSS.

    λ·L₂ is the optimiser's weight decay.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    dim: Count = 64
    """Width of the behaviour line and of each modality; vectors side by side are wider."""
    backbone: Literal["items", "lightgcn", "mf"] = "items"
    """What makes the behaviour line's vectors; items: LightGCN without user embeddings."""
    behaviour_layers: Layers = 2
    """L of the behaviour line (not for mf)."""
    item_layers: Layers = 2
    """How often a modality's vectors are propagated over its item–item graph."""
    user_layers: Layers = 0
    """How often users' modal vectors are propagated over the user–user graph."""
    neighbours: Count = 10
    """k of the relation graphs that are computed; given ones keep theirs."""
    free_embedding: bool = True
    """Whether items have an embedding of their own in each modality, beside the gated features."""
    coupled: bool = False
    """Whether the modal line's free embeddings are the behaviour line's own, against decoupling."""
    fusion: Literal["lines", "concat", "sum"] = "lines"
    """lines: the two lines side by side, the modalities summed into one; concat: each modality has
    columns of its own too; sum: all share the same ones."""
    modal_weight: Weight = 1.5
    """Weight of the modal line in the fused vectors; the behaviour line's is 1."""
    modal_support: Positive = 20.0
    """Interactions per item up to which the modal line has that weight. With more, what an item's
    interactions say of it is surer, by the root of their number, and the weight is less."""
    modality_weights: Literal["agreement", "equal"] = "agreement"
    """Of the modalities in the modal line: by how much more often than chance has it an item and
    its neighbours share users, or all the same."""
    leave_one_out: bool = True
    """While training, whether a user as the mean of items leaves out the item to be ranked."""
    item_bias: bool = True
    """Whether a score has a popularity part: a number for each item, the same for all users."""

    ranking: Literal["softmax", "bpr"] = "softmax"
    """L_rank: sampled softmax, or BPR."""
    temperature: Positive = 0.2
    """Divides the cosines in L_rank and in SSS."""
    negatives: Count = 1024
    """Uniformly drawn items, shared by a batch."""
    line_ranking: Weight = 0.0
    """w: weight of each line's own L_rank beside that of the fused vectors."""
    intra_alignment: Weight = 0.0
    """α: pulls interacting pairs together inside each line (BMA)."""
    modality_alignment: Weight = 0.0
    """InfoNCE between the modalities of an item (BMA, the other half of intra-alignment)."""
    inter_alignment: Weight = 0.0
    """β: InfoNCE between the lines' vectors of the same user or item (BMA)."""
    alignment_temperature: Positive = 0.2
    """Divides the cosines of inter- and modality alignment."""
    alignment_reach: Literal["both", "behaviour", "modal"] = "both"
    """The line that the gradient of inter-alignment moves."""
    compared: Count = 512
    """Interactions of a batch whose users and items are compared in inter-, modality and SSS."""
    sss: Weight = 0.3
    """γ: supervises a modality's similarities by those of its raw features (SSS)."""
