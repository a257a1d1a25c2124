"""The rivals by name: how each is built from data, and the hyper-parameters that it starts from.

The defaults are those of the papers' code and of MMRec (Adam at 1e-3, batches of 2,048, one
negative, 20 epochs of patience); `benchmarks/quality.py grid` shows on valid what others do.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from pydantic import BaseModel, ValidationError

from bundle.csr import Csr
from bundle.errors import InputError
from models.config import ModelConfig
from models.drepmrec import DRepMRec
from models.graphs import relation_graph
from models.rivals.backbone import BackboneBpr
from models.rivals.base import Rival
from models.rivals.config import FreedomConfig, MgcnConfig, PairwiseConfig
from models.rivals.freedom import Freedom
from models.rivals.mgcn import Mgcn
from models.rivals.vbpr import Vbpr
from models.rivals.views import View, cosine_graph
from training.build import build_model
from training.config import FitConfig, load_config
from training.dataset import Modality
from training.fit import Build
from training.ingredients import Ingredients

TOOLBOX = (
    "model.negatives=2048",  # one for each interaction of a batch, see Rival.drawn
    "model.item_layers=1",
    "optim.learning_rate=0.001",
    "optim.max_epochs=1000",
    "optim.patience=20",
)


class RivalName(StrEnum):
    """A rival's name, as the command line takes it and results show it."""

    MF_BPR = "mf_bpr"
    LIGHTGCN_BPR = "lightgcn_bpr"
    VBPR = "vbpr"
    FREEDOM = "freedom"
    MGCN = "mgcn"


def _mf(given: Ingredients, settings: PairwiseConfig) -> Rival:
    dim, generator = given.config.dim, given.generator
    return BackboneBpr(*given.interactions, dim, None, settings, generator)


def _lightgcn(given: Ingredients, settings: PairwiseConfig) -> Rival:
    config = given.config
    layers = config.behaviour_layers
    return BackboneBpr(*given.interactions, config.dim, layers, settings, given.generator)


def _vbpr(given: Ingredients, settings: PairwiseConfig) -> Rival:
    features, dim = torch.cat(given.features(), 1), given.config.dim
    return Vbpr(*given.interactions, features, dim, settings, given.generator)


def _freedom(given: Ingredients, settings: FreedomConfig) -> Rival:
    config, known = given.config, settings.modality_weights
    weights = [known.get(name, 0.0) for name in given.modalities]
    if not given.modalities.keys() <= known.keys() or not sum(weights):
        weights = [1.0 for _ in given.modalities]
    return Freedom(
        *given.interactions,
        features=given.features(),
        item_graphs=[relation_graph(*found) for found in given.neighbours()],
        weights=[weight / sum(weights) for weight in weights],
        dim=config.dim,
        user_item_layers=config.behaviour_layers,
        item_layers=config.item_layers,
        config=settings,
        generator=given.generator,
    )


def _mgcn(given: Ingredients, settings: MgcnConfig) -> Rival:
    config, as_code = given.config, settings.as_code
    features = given.given_features() if as_code else given.features()
    views = [
        View(
            features=of_modality,
            trained=as_code,
            present=torch.from_numpy(modality.present),
            graph=cosine_graph(*found, itself=as_code),
            n_layers=config.item_layers,
            dim=config.dim,
            generator=given.generator,
        )
        for modality, of_modality, found in zip(
            given.modalities.values(), features, given.neighbours(), strict=True
        )
    ]
    layers = config.behaviour_layers
    return Mgcn(*given.interactions, views, config.dim, layers, settings, given.generator)


@dataclass(frozen=True)
class _Kind:
    settings: type[BaseModel]
    make: Callable[[Ingredients, Any], Rival]


_KINDS = {
    RivalName.MF_BPR: _Kind(PairwiseConfig, _mf),
    RivalName.LIGHTGCN_BPR: _Kind(PairwiseConfig, _lightgcn),
    RivalName.VBPR: _Kind(PairwiseConfig, _vbpr),
    RivalName.FREEDOM: _Kind(FreedomConfig, _freedom),
    RivalName.MGCN: _Kind(MgcnConfig, _mgcn),
}


@dataclass(frozen=True)
class RivalPlan:
    """A rival that is ready to be fitted.

    Attributes:
        config: for `fit`, what it shares with DRepMRec.
        settings: what is its own.
        build: for `fit`.
    """

    config: FitConfig
    settings: BaseModel
    build: Build[Rival]


def plan_rival(name: RivalName, assignments: tuple[str, ...] = ()) -> RivalPlan:
    """A rival with its defaults and `key=value` assignments, e.g. `rival.l2=0.001`.

    Raises:
        InputError: a key is unknown or a value does not fit; the message names it.
    """
    kind = _KINDS[name]
    own = [a.removeprefix("rival.") for a in assignments if a.startswith("rival.")]
    shared = [a for a in assignments if not a.startswith("rival.")]
    try:
        pairs = (assignment.partition("=") for assignment in own)
        settings = kind.settings.model_validate({k: json.loads(v) for k, _, v in pairs})
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{name}: rival.{first['loc'][0]}: {first['msg']}") from error
    except json.JSONDecodeError as error:
        raise InputError(
            f"{name}: expected rival.key=value, a number, true or false, got {own}"
        ) from error

    def build(
        train: Csr,
        modalities: dict[str, Modality],
        config: ModelConfig,
        generator: torch.Generator,
        device: torch.device,
    ) -> Rival:
        user_idx, item_idx = (torch.from_numpy(idx).long() for idx in train.pairs())
        shape = train.n_rows, train.n_cols
        given = Ingredients(user_idx, item_idx, *shape, modalities, config, generator, device)
        return kind.make(given, settings).to(device)

    return RivalPlan(load_config(None, [*TOOLBOX, *shared]), settings, build)


def as_backbone(rival: RivalPlan, modal_line: bool) -> Build[DRepMRec]:
    """DRepMRec with a rival's vectors for its behaviour line, and DRepMRec's losses.

    Args:
        rival: its vectors have config.dim columns; its own losses are not used.
        modal_line: whether the modal line stands beside it.
    """

    def build(
        train: Csr,
        modalities: dict[str, Modality],
        config: ModelConfig,
        generator: torch.Generator,
        device: torch.device,
    ) -> DRepMRec:
        own = rival.config.model
        backbone = rival.build(
            train, modalities, own.model_copy(update={"dim": config.dim}), generator, device
        )
        lines = modalities if modal_line else {}
        plain = config.model_copy(update={"backbone": "mf"})  # any: it is replaced
        model = build_model(train, lines, plain, generator, device)
        model.backbone = backbone
        return model

    return build
