"""Rows of the tables of `python -m benchmarks.quality`, and the row each is compared with."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product

from models.config import ModelConfig
from training.baselines.registry import BaselineName

FULL = "DRepMRec"
SINGLE = f"{FULL}, single interactions"
NO_ALIGNMENT = (
    "model.intra_alignment=0",
    "model.modality_alignment=0",
    "model.inter_alignment=0",
)
ALONE = (*NO_ALIGNMENT, "model.sss=0")
SSS = ("model.sss=0.3",)
BMA = ("model.intra_alignment=0.1", "model.inter_alignment=0.02")
"""Weights of intra- and inter-alignment in rows that add them, whatever the defaults are."""


INTERACTIONS = (
    "model.history_parts=0",
    "model.linear_columns=0",
    "model.temperature=0.2",
    "optim.averaging=0",
)
"""The former default, fitted to single interactions: in it, every term of the loss can be used."""
DENSE = (
    "model.history_parts=2",
    "model.history_discount=0.5",
    "model.temperature=0.12",
    "model.negatives=10000",
    "optim.averaging=0.95",
    "optim.learning_rate=0.002",
    "optim.patience=20",
)
"""Settings of docs/guide/training.md for dense data, chosen on valid of MovieLens-1M, seed 0."""


EASE_COLUMNS = (None, 64, 128, 256)
"""Forms of EASE: in full, and as vectors with that many columns."""


@dataclass(frozen=True)
class Job:
    """One row of a table: a model that is fitted with each seed.

    Attributes:
        label: name of the row.
        model: `drepmrec`, `popularity`, `item_cf`, `ease`, `ials`, a `BaselineName`, `on:` and one
            of those for DRepMRec with that model's vectors as its behaviour line, or `with:` and
            one of those for that model with a modal line (`benchmarks.quality.plugin_bpr`).
        assignments: hyper-parameters; applied after those of the command line.
        modalities: names of the modalities to use; None for all.
        modal_line: whether DRepMRec has a modal line; a baseline below it always sees the content.
        lost: share of the items that lose one modality.
        versus: label of the row that the bootstrap compares this one with.
        columns: of `ials` and of `ease`, whose None means in full.
        curve: label of the curve in the figure, whose x-axis is `lost`.
        form: name and weight of an additional loss term, of `benchmarks.quality.alignment_forms` or
            of a model that begins with `with:`.
    """

    label: str
    model: str = "drepmrec"
    assignments: tuple[str, ...] = ()
    modalities: tuple[str, ...] | None = None
    modal_line: bool = True
    lost: float = 0.0
    versus: str | None = None
    curve: str | None = None
    columns: int | None = None
    form: tuple[str, float] | None = None


def is_known(assignment: str) -> bool:
    """True if the configuration has the key; experiments add and remove some."""
    section, _, key = assignment.partition("=")[0].rpartition(".")
    return section != "model" or key in ModelConfig.model_fields


def our_lightgcn() -> Job:
    """LightGCN on ids with DRepMRec's ranking loss and nothing else of DRepMRec."""
    own = ("model.backbone=lightgcn", "model.item_bias=false", *ALONE)
    assignments = (*INTERACTIONS, *filter(is_known, own))
    return Job("LightGCN, our loss", assignments=assignments, modal_line=False)


def baselines(_: list[str]) -> list[Job]:
    """(a) Baselines beside DRepMRec."""
    others = [
        Job("popularity", "popularity"),
        Job("item-to-item collaborative filtering", "item_cf"),
        Job("EASE", "ease"),
        *(Job(f"EASE, {k} columns", "ease", columns=k) for k in EASE_COLUMNS if k),
        *(Job(f"iALS, {k} columns", "ials", columns=k) for k in (64, 128, 256)),
        Job("MF, BPR", BaselineName.MF_BPR),
        Job("LightGCN, BPR", BaselineName.LIGHTGCN_BPR),
        our_lightgcn(),
        Job("VBPR", BaselineName.VBPR),
        Job("FREEDOM-like", BaselineName.FREEDOM),
        Job("MGCN-like", BaselineName.MGCN),
    ]
    return [
        *(replace(job, versus=FULL) for job in others),
        Job(FULL),
        Job(SINGLE, assignments=INTERACTIONS, versus=FULL),
        Job(
            f"{FULL}, 63 columns",
            assignments=("model.dim=31", "model.linear_columns=0"),
            versus="MGCN-like",
        ),
        Job(
            f"{SINGLE}, 63 columns",
            assignments=(*INTERACTIONS, "model.dim=31"),
            versus="MGCN-like",
        ),
        Job(f"{FULL}, no linear part", assignments=("model.linear_columns=0",), versus=FULL),
        Job(f"{FULL}, settings for dense data", assignments=DENSE, versus=FULL),
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
"""Rows of (b). Rows with a key that the configuration does not have are left out."""


def ablations(_: list[str]) -> list[Job]:
    """(b) Ablations: DRepMRec with one change at a time, fitted to single interactions."""
    changed = [
        Job(label, assignments=(*INTERACTIONS, *assignments), versus=SINGLE)
        for label, assignments in ABLATIONS
        if all(map(is_known, assignments))
    ]
    return [
        Job(SINGLE, assignments=INTERACTIONS),
        *changed,
        Job("without modal line", assignments=INTERACTIONS, modal_line=False, versus=SINGLE),
    ]


def plugin(_: list[str]) -> list[Job]:
    """(c) Gains of the modal line, and of BMA and SSS on top of it, for three backbones."""
    backbones: list[tuple[str, str, tuple[str, ...]]] = [
        ("MF", "drepmrec", ("model.backbone=mf",)),
        ("LightGCN", "drepmrec", ("model.backbone=lightgcn",)),
        ("MGCN-like", f"on:{BaselineName.MGCN}", ()),
    ]
    jobs = []
    for name, model, backbone in backbones:
        alone, line = f"{name} alone", f"{name} + modal line"
        own = (*INTERACTIONS, *backbone)
        with_sss, with_all = (*own, *ALONE, *SSS), (*own, *ALONE, *SSS, *BMA)
        jobs += [
            Job(alone, model, (*own, *ALONE), modal_line=False),
            Job(line, model, (*own, *ALONE), versus=alone),
            Job(f"{line} + SSS", model, with_sss, versus=line),
            Job(f"{line} + BMA + SSS", model, with_all, versus=line),
            Job(f"{line} + BMA + SSS, in all", model, with_all, versus=alone),
        ]
    return jobs


def plugin_bpr(_: list[str]) -> list[Job]:
    """(g) The modal line and BMA under the backbones' own BPR loss, beside a control."""
    backbones: list[tuple[str, BaselineName, tuple[str, ...]]] = [
        ("MF", BaselineName.MF_BPR, ()),
        ("LightGCN", BaselineName.LIGHTGCN_BPR, ()),
        ("VBPR", BaselineName.VBPR, ()),
        ("FREEDOM-like", BaselineName.FREEDOM, ()),
        ("MGCN-like without its contrast", BaselineName.MGCN, ("baseline.contrast=0",)),
    ]
    jobs = []
    for name, model, own in backbones:
        line = f"{name} + modal line"
        jobs += [
            Job(name, model, own),
            Job(line, f"with:{model}", own, versus=name, form=("lines", 0.0)),
        ]
        for weight in (0.0005, 0.001, 0.002, 0.005, 0.01):
            control = f"{line} + control {weight}"
            bma = Job(
                f"{line} + BMA {weight}", f"with:{model}", own, versus=line, form=("lines", weight)
            )
            jobs += [
                bma,
                replace(bma, label=control, form=("control", weight)),
                replace(bma, label=f"{bma.label}, over the control", versus=control),
            ]
    return jobs


def modalities(names: list[str]) -> list[Job]:
    """(d) Single modalities."""
    of = INTERACTIONS
    return [
        Job("none", assignments=of, modal_line=False),
        *(
            Job(f"{name} alone", assignments=of, modalities=(name,), versus="none")
            for name in names
        ),
        Job("all", assignments=of, versus="none"),
    ]


def missing(_: list[str]) -> list[Job]:
    """(e) Missing content: a share of the items, drawn by the seed, loses one modality."""
    shares = [n / 10 for n in range(10)]
    curves = [
        (SINGLE, "drepmrec", INTERACTIONS),
        ("MGCN-like", str(BaselineName.MGCN), ()),
    ]
    return [
        *(
            Job(f"{curve}, {share:.0%} lost", model, assignments, lost=share, curve=curve)
            for (curve, model, assignments), share in product(curves, shares)
        ),
        our_lightgcn(),
    ]


SUMMED = "one vector for both lines"


def alignment(_: list[str]) -> list[Job]:
    """(f) Forms of alignment on the default, each with the weights that papers use."""
    inter = [f"model.inter_alignment={weight}" for weight in (0.005, 0.01, 0.02, 0.05)]
    forms = [
        *(("soft_positives", weight) for weight in (0.1, 0.3)),
        *(("directed", weight) for weight in (0.001, 0.01, 0.05)),
        *(("distillation", weight) for weight in (0.01, 0.1)),
        *(("generated_behaviour", weight) for weight in (0.1, 0.3, 1.0)),
    ]
    summed = "model.fusion=sum"
    name = "inter-alignment"
    return [
        Job(FULL),
        *(Job(f"{name} {w.partition('=')[2]}", assignments=(w,), versus=FULL) for w in inter),
        *(
            Job(f"{form.replace('_', ' ')} {weight}", versus=FULL, form=(form, weight))
            for form, weight in forms
        ),
        Job(SUMMED, assignments=(summed,), versus=FULL),
        *(
            Job(f"{SUMMED}, {name} {w.partition('=')[2]}", assignments=(summed, w), versus=SUMMED)
            for w in inter
        ),
    ]


RATES = ("optim.learning_rate=0.001", "optim.learning_rate=0.005")
PENALTIES = ("baseline.l2=0.00001", "baseline.l2=0.0001", "baseline.l2=0.001")
GRIDS: dict[BaselineName, tuple[tuple[str, ...], ...]] = {
    BaselineName.MF_BPR: (RATES, PENALTIES),
    BaselineName.LIGHTGCN_BPR: (RATES, PENALTIES),
    BaselineName.VBPR: (RATES, PENALTIES),
    BaselineName.FREEDOM: (
        ("baseline.pruned=0.8", "baseline.pruned=0.9"),
        (
            "baseline.modal_ranking=0",
            "baseline.modal_ranking=0.00001",
            "baseline.modal_ranking=0.001",
        ),
    ),
    BaselineName.MGCN: (
        ("baseline.contrast=0.001", "baseline.contrast=0.01", "baseline.contrast=0.1"),
        ("baseline.as_code=true", "baseline.as_code=false"),
    ),
}
"""Values that the papers search, for the models whose papers do."""


def grid(_: list[str]) -> list[Job]:
    """Hyper-parameters of the baselines, to be chosen on valid."""
    return [
        Job(" ".join((name, *choice)), name, choice)
        for name, options in GRIDS.items()
        for choice in product(*options)
    ]


TABLES: dict[str, Callable[[list[str]], list[Job]]] = {
    "baselines": baselines,
    "ablations": ablations,
    "plugin": plugin,
    "plugin-bpr": plugin_bpr,
    "modalities": modalities,
    "missing": missing,
    "alignment": alignment,
    "grid": grid,
}
"""Tables by name; each takes the names of the data's modalities."""
