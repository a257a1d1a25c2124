"""`features`, `encoders` and `demo`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from bundle.errors import InputError
from training.commands.options import Data
from training.content.features import extract_features
from training.content.portable import write_default_encoders
from training.demo.catalogue import make_catalogue

EncoderFolder = Annotated[
    Path | None,
    typer.Option(help="Folder with an ONNX model and its encoder.json, instead of the default."),
]


def features(
    data: Data,
    text: Annotated[
        str, typer.Option(help="Columns of the items table with text, e.g. title,description.")
    ] = "",
    image: Annotated[
        str | None, typer.Option(help="Column with picture files, relative to DATA.")
    ] = None,
    text_encoder: EncoderFolder = None,
    image_encoder: EncoderFolder = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Items encoded at once.")] = 8,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: all cores.")] = 0,
) -> None:
    """Make text_feat.npy and image_feat.npy from titles and picture files.

    Vectors are cached by content: a second run, or one after an interruption, encodes only what
    is new. Broken pictures are listed and their items left without an image.
    """
    columns = [column.strip() for column in text.split(",") if column.strip()]
    if not columns and image is None:
        raise InputError("features: give --text, --image or both")
    report = extract_features(
        data,
        columns,
        image,
        text_encoder=text_encoder,
        image_encoder=image_encoder,
        batch_size=batch_size,
        threads=threads or len(os.sched_getaffinity(0)),
        progress=True,
    )
    for modality in report.modalities:
        typer.echo("\n".join(modality.lines()))


def demo(
    out: Annotated[Path, typer.Argument(help="Folder to make; must be empty if it exists.")],
    items: Annotated[int, typer.Option(min=1, help="Items of the shop.")] = 3000,
    users: Annotated[int, typer.Option(min=1, help="Users of the shop.")] = 4000,
    seed: Annotated[int, typer.Option(min=0, help="The only source of chance.")] = 7,
) -> None:
    """Make a synthetic shop: drawn pictures, titles and users with planted tastes."""
    truth = make_catalogue(out, n_items=items, n_users=users, seed=seed)
    typer.echo(f"{out}: {len(truth.looks)} items with pictures, {len(truth.tastes)} users")


def encoders(
    out: Annotated[Path, typer.Argument(help="Folder that gets `text` and `image`.")],
) -> None:
    """Write the default encoders into folders, for services that get texts and pictures."""
    for folder in write_default_encoders(out):
        typer.echo(folder)
