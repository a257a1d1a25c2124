"""Which models each table of `benchmarks/quality.py` has, and what its rows are compared with."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product

from models.config import ModelConfig
from training.rivals import RivalName

FULL = "DRepMRec"
NO_ALIGNMENT = (
    "model.intra_alignment=0",
    "model.modality_alignment=0",
    "model.inter_alignment=0",
)
ALONE = (*NO_ALIGNMENT, "model.sss=0")
SSS = ("model.sss=0.3",)
BMA = ("model.intra_alignment=0.1", "model.inter_alignment=0.02")
"""Weights of the signals where a row adds them, whatever is on by default."""


@dataclass(frozen=True)
class Job:
    """One row of a table: a model that is fitted with each seed.

    Attributes:
        label: the row's name.
        model: `drepmrec`, `popularity`, `item_cf`, a `RivalName`, or `on:` and one of those for
            DRepMRec with its vectors as the behaviour line.
        assignments: hyper-parameters, after those of the command line.
        modalities: their names; None for all.
        modal_line: whether DRepMRec has one (a rival under it always sees the modalities).
        lost: share of the items that lose one modality.
        versus: the row whose users it is compared with.
        curve: its name in the figure, where `lost` is the x-axis.
    """

    label: str
    model: str = "drepmrec"
    assignments: tuple[str, ...] = ()
    modalities: tuple[str, ...] | None = None
    modal_line: bool = True
    lost: float = 0.0
    versus: str | None = None
    curve: str | None = None


def known(assignment: str) -> bool:
    """Whether the configuration has the key: research adds and removes some."""
    section, _, key = assignment.partition("=")[0].rpartition(".")
    return section != "model" or key in ModelConfig.model_fields


def our_lightgcn() -> Job:
    """LightGCN on ids with DRepMRec's ranking loss and nothing else of it."""
    assignments = ("model.backbone=lightgcn", "model.item_bias=false", *ALONE)
    return Job(
        "LightGCN, our loss", assignments=tuple(filter(known, assignments)), modal_line=False
    )


def baselines(_: list[str]) -> list[Job]:
    """(a) What DRepMRec has to beat."""
    others = [
        Job("popularity", "popularity"),
        Job("item-to-item collaborative filtering", "item_cf"),
        Job("MF, BPR", RivalName.MF_BPR),
        Job("LightGCN, BPR", RivalName.LIGHTGCN_BPR),
        our_lightgcn(),
        Job("VBPR", RivalName.VBPR),
        Job("FREEDOM-like", RivalName.FREEDOM),
        Job("MGCN-like", RivalName.MGCN),
    ]
    return [
        *(replace(job, versus=FULL) for job in others),
        Job(FULL),
        Job(f"{FULL}, 63 columns", assignments=("model.dim=31",), versus="MGCN-like"),
    ]


ABLATIONS: list[tuple[str, tuple[str, ...]]] = [
    ("without SSS", ("model.sss=0",)),
    ("without intra-alignment", ("model.intra_alignment=0", "model.modality_alignment=0")),
    ("without inter-alignment", ("model.inter_alignment=0",)),
    ("without BMA", NO_ALIGNMENT),
    ("without BMA and SSS", ALONE),
    ("with intra-alignment 0.1", BMA[:1]),
    ("with inter-alignment 0.02", BMA[1:]),
    (
        "with inter-alignment 0.02 of the modal line alone",
        (*BMA[1:], "model.alignment_reach=modal"),
    ),
    (
        "with inter-alignment 0.02 of the behaviour line alone",
        (*BMA[1:], "model.alignment_reach=behaviour"),
    ),
    ("with intra-alignment 0.1 and inter-alignment 0.02", BMA),
    ("with alignment of the modalities 0.05", ("model.modality_alignment=0.05",)),
    ("with a ranking loss for each line", ("model.line_ranking=0.5",)),
    ("without item bias", ("model.item_bias=false",)),
    ("without leaving one out", ("model.leave_one_out=false",)),
    ("without free embeddings in the modal line", ("model.free_embedding=false",)),
    ("with user embeddings", ("model.backbone=lightgcn",)),
    ("with modalities that weigh the same", ("model.modality_weights=equal",)),
    ("every modality with columns of its own", ("model.fusion=concat",)),
    ("lines and modalities summed", ("model.fusion=sum",)),
    ("coupled: lines share the item embedding", ("model.coupled=true",)),
]
"""Rows of (b); one with a key that the configuration does not have is left out."""


def ablations(_: list[str]) -> list[Job]:
    """(b) DRepMRec with one thing changed at a time."""
    changed = [
        Job(label, assignments=assignments, versus=FULL)
        for label, assignments in ABLATIONS
        if all(map(known, assignments))
    ]
    return [Job(FULL), *changed, Job("without modal line", modal_line=False, versus=FULL)]


def plugin(_: list[str]) -> list[Job]:
    """(c) What the modal line, and BMA and SSS on top, add to a backbone."""
    backbones: list[tuple[str, str, tuple[str, ...]]] = [
        ("MF", "drepmrec", ("model.backbone=mf",)),
        ("LightGCN", "drepmrec", ("model.backbone=lightgcn",)),
        ("MGCN-like", f"on:{RivalName.MGCN}", ()),
    ]
    jobs = []
    for name, model, own in backbones:
        alone, line = f"{name} alone", f"{name} + modal line"
        with_sss, with_all = (*own, *ALONE, *SSS), (*own, *ALONE, *SSS, *BMA)
        jobs += [
            Job(alone, model, (*own, *ALONE), modal_line=False),
            Job(line, model, (*own, *ALONE), versus=alone),
            Job(f"{line} + SSS", model, with_sss, versus=line),
            Job(f"{line} + BMA + SSS", model, with_all, versus=line),
            Job(f"{line} + BMA + SSS, in all", model, with_all, versus=alone),
        ]
    return jobs


def modalities(names: list[str]) -> list[Job]:
    """(d) Each modality alone."""
    alone = [Job(f"{name} alone", modalities=(name,), versus="none") for name in names]
    return [Job("none", modal_line=False), *alone, Job("all", versus="none")]


def missing(_: list[str]) -> list[Job]:
    """(e) A share of the items loses one modality, drawn by the seed."""
    shares = [n / 10 for n in range(10)]
    curves = [(FULL, "drepmrec"), ("MGCN-like", str(RivalName.MGCN))]
    return [
        *(
            Job(f"{curve}, {share:.0%} lost", model, lost=share, curve=curve)
            for (curve, model), share in product(curves, shares)
        ),
        our_lightgcn(),
    ]


RATES = ("optim.learning_rate=0.001", "optim.learning_rate=0.005")
PENALTIES = ("rival.l2=0.00001", "rival.l2=0.0001", "rival.l2=0.001")
GRIDS: dict[RivalName, tuple[tuple[str, ...], ...]] = {
    RivalName.MF_BPR: (RATES, PENALTIES),
    RivalName.LIGHTGCN_BPR: (RATES, PENALTIES),
    RivalName.VBPR: (RATES, PENALTIES),
    RivalName.FREEDOM: (
        ("rival.pruned=0.8", "rival.pruned=0.9"),
        ("rival.modal_ranking=0", "rival.modal_ranking=0.00001", "rival.modal_ranking=0.001"),
    ),
    RivalName.MGCN: (
        ("rival.contrast=0.001", "rival.contrast=0.01", "rival.contrast=0.1"),
        ("rival.as_code=true", "rival.as_code=false"),
    ),
}
"""What the papers search, for the models in which they do."""


def grid(_: list[str]) -> list[Job]:
    """The rivals' hyper-parameters, to be chosen on valid."""
    return [
        Job(" ".join((name, *choice)), name, choice)
        for name, options in GRIDS.items()
        for choice in product(*options)
    ]


TABLES: dict[str, Callable[[list[str]], list[Job]]] = {
    "baselines": baselines,
    "ablations": ablations,
    "plugin": plugin,
    "modalities": modalities,
    "missing": missing,
    "grid": grid,
}
"""By name; each takes the names of the data's modalities."""
