"""Hyper-parameters of DRepMRec."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Layers = Annotated[int, Field(ge=0, le=8)]


class ModelConfig(BaseModel):
    """DRepMRec's hyper-parameters.

    Loss: L = L_rank(fused) + w·(L_rank(B) + L_rank(M)) + α·intra + β·inter + γ·SSS. The term λ·L₂
    is the optimiser's weight decay.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    dim: Count = 64
    """D: width of the behaviour line and of each modality. Fused vectors concatenate lines and are
    wider."""
    backbone: Literal["items", "lightgcn", "mf"] = "items"
    """Backbone of the behaviour line. items: LightGCN without user embeddings; lightgcn: LightGCN;
    mf: matrix factorisation."""
    behaviour_layers: Layers = 2
    """L: propagation layers of the behaviour line; unused by mf."""
    item_layers: Layers = 2
    """Propagation layers of each modality over its item–item graph."""
    user_layers: Layers = 0
    """Propagation layers of users' modal vectors over the user–user graph."""
    neighbours: Count = 10
    """k of computed item–item graphs; graphs given with the data keep their own k."""
    free_embedding: bool = True
    """Add a free embedding per item and modality to the gated features."""
    coupled: bool = False
    """Share the free embeddings of the modal line with the behaviour line. Ablation: it removes the
    decoupling of the lines."""
    fusion: Literal["lines", "concat", "sum"] = "lines"
    """Fusion of the lines. lines: concatenate the behaviour line and the sum of the modalities;
    concat: concatenate the behaviour line and every modality; sum: add everything."""
    modal_weight: Weight = 1.5
    """Weight of the modal line in the fused vectors; the behaviour line has weight 1."""
    modal_support: Positive = 20.0
    """Average interactions per item up to which modal_weight applies. Above, interactions describe
    an item more reliably, and the weight shrinks with the square root of their number."""
    modality_weights: Literal["agreement", "equal"] = "agreement"
    """Weights of the modalities within the modal line. agreement: by how much more often than by
    chance an item and its neighbours share users; equal: all the same."""
    linear_columns: Annotated[int, Field(ge=0)] = 128
    """Columns of the linear part, a regression of items on items in closed form; 0: no linear part.
    Its weight is chosen on valid, and the part is dropped where it does not help."""
    linear_l2: Positive = 200.0
    """Regularisation of the linear part, in interactions per item."""
    linear_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.33
    """Dropout of a history's items for which the linear part is regularised."""
    leave_one_out: bool = True
    """In training, exclude the item being ranked from the user's mean of items."""
    item_bias: bool = True
    """Add a popularity bias per item to the scores, the same for all users."""

    ranking: Literal["softmax", "bpr"] = "softmax"
    """Ranking loss L_rank. softmax: sampled softmax; bpr: BPR."""
    history_parts: Annotated[int, Field(ge=0)] = 8
    """Parts of a user's history in training: each is ranked while the others represent the user. As
    many as a history has items, at most: then one item at a time is ranked. Fewer take less time on
    dense data. 0: batches of single interactions. Those are always used where users are more than
    the mean of their items (another backbone, user_layers) or single interactions are compared
    (ranking=bpr, line_ranking, intra_alignment)."""
    history_discount: Weight = 0.0
    """Discount of long histories, in training on parts of histories: the loss of an interaction
    weighs 1/|history|^history_discount. 0.5 suits dense data, where most interactions are of few
    users."""
    temperature: Positive = 0.15
    """Temperature of the similarities in L_rank and SSS."""
    negatives: Count = 1024
    """Negative items per batch, drawn uniformly and shared by all its interactions; at most all."""
    line_ranking: Weight = 0.0
    """w: weight of the separate ranking losses of the behaviour line and the modal line."""
    intra_alignment: Weight = 0.0
    """α: weight of BMA's intra-alignment, which pulls interacting pairs together in each line."""
    modality_alignment: Weight = 0.0
    """Weight of BMA's alignment between the modalities of an item (InfoNCE), the second half of
    intra-alignment."""
    inter_alignment: Weight = 0.0
    """β: weight of BMA's inter-alignment (InfoNCE) between the lines' vectors of the same user or
    item."""
    alignment_temperature: Positive = 0.2
    """Temperature of inter-alignment and modality alignment."""
    alignment_reach: Literal["both", "behaviour", "modal"] = "both"
    """Line that receives the gradient of inter-alignment."""
    compared: Count = 512
    """Interactions per batch whose users and items enter inter-alignment, modality alignment and
    SSS; cost grows with its square."""
    sss: Weight = 0.3
    """γ: weight of the similarity-supervised signal (SSS), which keeps a modality's similarities
    close to those of its raw features."""

    @model_validator(mode="after")
    def _parts_have_others(self) -> "ModelConfig":
        if self.history_parts == 1:
            raise ValueError("history_parts must be 0 or at least 2: one part leaves no other")
        return self

    @property
    def whole_histories(self) -> bool:
        """True if parts of histories are ranked in training, and not single interactions."""
        of_interactions = self.user_layers or self.line_ranking or self.intra_alignment
        kept = self.ranking == "softmax" and self.backbone == "items" and not of_interactions
        return self.history_parts > 0 and kept
