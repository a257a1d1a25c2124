"""Commands `features` and `encoders`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from bundle.errors import InputError
from training.cli.options import Data

EncoderFolder = Annotated[
    Path | None,
    typer.Option(help="Folder with an ONNX model and its encoder.json. [the default encoder]"),
]


def features(
    data: Data,
    text: Annotated[
        str,
        typer.Option(help="Text columns of the items table, comma-separated: title,description."),
    ] = "",
    image: Annotated[
        str | None,
        typer.Option(help="Column with paths of picture files, relative to DATA."),
    ] = None,
    text_encoder: EncoderFolder = None,
    image_encoder: EncoderFolder = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Items per encoder call.")] = 8,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: one per core.")] = 0,
) -> None:
    """Extract text and image features of items with neural encoders.

    Writes text_feat.npy and image_feat.npy into DATA. Vectors are cached by content, so a repeated
    or resumed run encodes new content only. Items with a broken picture are listed and get no
    image features.
    """
    from training.content.features import extract_features

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


def encoders(
    out: Annotated[Path, typer.Argument(help="Output folder; gets subfolders `text` and `image`.")],
) -> None:
    """Write the default text and image encoders, for a service that encodes content."""
    from training.content.default_encoders import write_default_encoders

    for folder in write_default_encoders(out):
        typer.echo(folder)
