"""Registry of baseline models: builders and default hyper-parameters by name.

Defaults are those of the papers' code and of MMRec (Adam at 1e-3, batches of 2,048, one negative,
20 epochs of patience); `python -m benchmarks.quality grid` compares them with others on valid.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor
from torch.nn import functional as F

from bundle.csr import Csr
from bundle.errors import InputError
from models.baselines.backbone import BackboneBpr
from models.baselines.base import BaselineModel, TrainInteractions
from models.baselines.config import FreedomConfig, MgcnConfig, PairwiseConfig
from models.baselines.freedom import Freedom
from models.baselines.mgcn import Mgcn, View, cosine_graph
from models.baselines.vbpr import Vbpr
from models.config import ModelConfig
from models.drepmrec import DRepMRec
from models.graphs import relation_graph
from training.data.dataset import Modality
from training.fitting.config import FitConfig, load_config
from training.fitting.model_factory import build_model, item_neighbours
from training.fitting.trainer import Build

MMREC_DEFAULTS = (
    "model.negatives=2048",  # one per interaction of a batch, see BaselineModel.drawn
    "model.item_layers=1",
    "model.temperature=0.2",  # no baseline has one: the names of stored runs depend on it
    "optim.averaging=0",
    "optim.learning_rate=0.001",
    "optim.max_epochs=1000",
    "optim.patience=20",
)


class BaselineName(StrEnum):
    """Name of a baseline model in benchmark options and results."""

    MF_BPR = "mf_bpr"
    LIGHTGCN_BPR = "lightgcn_bpr"
    VBPR = "vbpr"
    FREEDOM = "freedom"
    MGCN = "mgcn"


@dataclass(frozen=True)
class BaselineInputs:
    """Inputs of a baseline's builder: train interactions, modalities, hyper-parameters."""

    train: TrainInteractions
    modalities: dict[str, Modality]
    config: ModelConfig
    generator: torch.Generator
    device: torch.device

    def given_features(self) -> list[Tensor]:
        """Features [I, F_m] of each modality, as in the data.

        Raises:
            InputError: there is no modality, or one has no features.
        """
        if not self.modalities or not all(m.has_features for m in self.modalities.values()):
            raise InputError("this model needs at least one modality, and features of each")
        return [torch.from_numpy(modality.features) for modality in self.modalities.values()]

    def features(self) -> list[Tensor]:
        """Features [I, F_m] of each modality with unit or zero rows, as for DRepMRec."""
        return [F.normalize(features, dim=1) for features in self.given_features()]

    def neighbours(self) -> list[tuple[Tensor, Tensor]]:
        """Neighbours and cosines [I, k] of each modality, taken from the data if given there."""
        k = self.config.neighbours
        return [
            item_neighbours(name, modality, features, k, self.device)
            for (name, modality), features in zip(
                self.modalities.items(), self.features(), strict=True
            )
        ]


def _mf(inputs: BaselineInputs, settings: PairwiseConfig) -> BaselineModel:
    dim, generator = inputs.config.dim, inputs.generator
    return BackboneBpr(inputs.train, dim, None, settings, generator)


def _lightgcn(inputs: BaselineInputs, settings: PairwiseConfig) -> BaselineModel:
    config = inputs.config
    layers = config.behaviour_layers
    return BackboneBpr(inputs.train, config.dim, layers, settings, inputs.generator)


def _vbpr(inputs: BaselineInputs, settings: PairwiseConfig) -> BaselineModel:
    features, dim = torch.cat(inputs.features(), 1), inputs.config.dim
    return Vbpr(inputs.train, features, dim, settings, inputs.generator)


def _freedom(inputs: BaselineInputs, settings: FreedomConfig) -> BaselineModel:
    config, known = inputs.config, settings.modality_weights
    weights = [known.get(name, 0.0) for name in inputs.modalities]
    if not inputs.modalities.keys() <= known.keys() or not sum(weights):
        weights = [1.0 for _ in inputs.modalities]
    return Freedom(
        inputs.train,
        features=inputs.features(),
        item_graphs=[relation_graph(*found) for found in inputs.neighbours()],
        weights=[weight / sum(weights) for weight in weights],
        dim=config.dim,
        user_item_layers=config.behaviour_layers,
        item_layers=config.item_layers,
        config=settings,
        generator=inputs.generator,
    )


def _mgcn(inputs: BaselineInputs, settings: MgcnConfig) -> BaselineModel:
    config, as_code = inputs.config, settings.as_code
    features = inputs.given_features() if as_code else inputs.features()
    views = [
        View(
            features=of_modality,
            trained=as_code,
            present=torch.from_numpy(modality.present),
            graph=cosine_graph(*found, itself=as_code),
            n_layers=config.item_layers,
            dim=config.dim,
            generator=inputs.generator,
        )
        for modality, of_modality, found in zip(
            inputs.modalities.values(), features, inputs.neighbours(), strict=True
        )
    ]
    layers = config.behaviour_layers
    return Mgcn(inputs.train, views, config.dim, layers, settings, inputs.generator)


@dataclass(frozen=True)
class _Kind:
    settings: type[BaseModel]
    make: Callable[[BaselineInputs, Any], BaselineModel]


_KINDS = {
    BaselineName.MF_BPR: _Kind(PairwiseConfig, _mf),
    BaselineName.LIGHTGCN_BPR: _Kind(PairwiseConfig, _lightgcn),
    BaselineName.VBPR: _Kind(PairwiseConfig, _vbpr),
    BaselineName.FREEDOM: _Kind(FreedomConfig, _freedom),
    BaselineName.MGCN: _Kind(MgcnConfig, _mgcn),
}


NEED_FEATURES = frozenset({BaselineName.VBPR, BaselineName.FREEDOM, BaselineName.MGCN})
"""Baselines that need a modality, and features of each: a graph is not enough."""


@dataclass(frozen=True)
class BaselinePlan:
    """A configured baseline, ready to be fitted.

    Attributes:
        config: hyper-parameters shared with DRepMRec, for `fit_model`.
        settings: hyper-parameters of its own.
        build: builder of the untrained model, for `fit_model`.
    """

    config: FitConfig
    settings: BaseModel
    build: Build[BaselineModel]


def plan_baseline(name: BaselineName, assignments: tuple[str, ...] = ()) -> BaselinePlan:
    """Configure a baseline: its defaults, then `key=value` assignments.

    Args:
        name: the baseline.
        assignments: keys of the configuration, e.g. `model.dim=32`, and with the prefix `baseline.`
            those of its own hyper-parameters, e.g. `baseline.l2=0.001`.

    Raises:
        InputError: a key is unknown or a value is invalid; the message names it.
    """
    kind = _KINDS[name]
    own = [a.removeprefix("baseline.") for a in assignments if a.startswith("baseline.")]
    shared = [a for a in assignments if not a.startswith("baseline.")]
    try:
        pairs = (assignment.partition("=") for assignment in own)
        settings = kind.settings.model_validate({k: json.loads(v) for k, _, v in pairs})
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{name}: baseline.{first['loc'][0]}: {first['msg']}") from error
    except json.JSONDecodeError as error:
        raise InputError(
            f"{name}: expected baseline.KEY=VALUE with a number, true or false, got {own}"
        ) from error

    def build(
        train: Csr,
        modalities: dict[str, Modality],
        config: ModelConfig,
        generator: torch.Generator,
        device: torch.device,
    ) -> BaselineModel:
        user_idx, item_idx = (torch.from_numpy(idx).long() for idx in train.pairs())
        interactions = TrainInteractions(user_idx, item_idx, train.n_rows, train.n_cols)
        inputs = BaselineInputs(interactions, modalities, config, generator, device)
        return kind.make(inputs, settings).to(device)

    return BaselinePlan(load_config(None, [*MMREC_DEFAULTS, *shared]), settings, build)


def as_backbone(baseline: BaselinePlan, modal_line: bool) -> Build[DRepMRec]:
    """Builder of DRepMRec with a baseline as its behaviour line, trained by DRepMRec's losses.

    Args:
        baseline: provides vectors of config.dim columns; its own losses are not used.
        modal_line: whether to add the modal line.
    """

    def build(
        train: Csr,
        modalities: dict[str, Modality],
        config: ModelConfig,
        generator: torch.Generator,
        device: torch.device,
    ) -> DRepMRec:
        own = baseline.config.model
        backbone = baseline.build(
            train, modalities, own.model_copy(update={"dim": config.dim}), generator, device
        )
        lines = modalities if modal_line else {}
        # The backbone is a placeholder, replaced below; a linear part would hide what lines add.
        plain = config.model_copy(update={"backbone": "mf", "linear_columns": 0})
        model = build_model(train, lines, plain, generator, device)
        model.backbone = backbone
        return model

    return build
