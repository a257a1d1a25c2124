"""Descriptions of content encoders, read from `encoder.json`.

A folder with an `encoder.json` and an ONNX file is all that `bundle.content.encoders` needs to run
a user's own encoder. The two default encoders are described by the same classes.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, TypeAdapter, ValidationError

from bundle.errors import InputError

SPEC_FILE = "encoder.json"

Channels = tuple[float, float, float]
PositiveChannels = tuple[
    Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]
]


class _Spec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: str
    """Path of the ONNX file, relative to the folder of `encoder.json`."""
    output: str | None = None
    """Name of the output; by default the first one."""


class TextEncoderSpec(_Spec):
    """An encoder of texts: token ids `[B, L]` in, states `[B, L, F]` or vectors `[B, F]` out."""

    kind: Literal["text"]
    tokenizer: str
    """Path of the `tokenizer.json` (of the library tokenizers), relative to the folder."""
    ids_input: str = "input_ids"
    mask_input: str | None = "attention_mask"
    """Name of the input that is 1 for tokens and 0 for padding; null if the model has none."""
    types_input: str | None = "token_type_ids"
    """Name of the input for token types, which are all 0; null if the model has none."""
    max_length: int = Field(default=128, ge=2)
    """Maximum number of tokens, special tokens included; longer texts are truncated."""
    pooling: Literal["mean", "cls", "none"] = "mean"
    """Pooling of the states to one vector; `none` if the model does it itself."""
    normalize: bool = True
    """Scale vectors to Euclidean length 1."""


class ImageEncoderSpec(_Spec):
    """An encoder of pictures: `[B, 3, size, size]` (or channels last) in, `[B, F]` out."""

    kind: Literal["image"]
    input: str | None = None
    """Name of the input; by default the first one."""
    size: int = Field(ge=8, le=2048)
    """Width and height of the model's input, in pixels."""
    mean: Channels
    """Subtracted from red, green and blue, which are in 0…1."""
    std: PositiveChannels
    """Divisor of the difference."""
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    resize: Literal["pad", "crop", "stretch"] = "pad"
    """`pad` fits the whole picture in and fills the rest with `mean`; `crop` cuts out the middle;
    `stretch` changes the aspect ratio."""
    normalize: bool = False
    """Scale vectors to Euclidean length 1."""


EncoderSpec = Annotated[TextEncoderSpec | ImageEncoderSpec, Discriminator("kind")]

_ADAPTER: TypeAdapter[TextEncoderSpec | ImageEncoderSpec] = TypeAdapter(EncoderSpec)


def read_spec(folder: Path) -> TextEncoderSpec | ImageEncoderSpec:
    """Read the description in `folder/encoder.json`.

    Raises:
        InputError: the file is missing or not JSON, or a field is missing, unknown or wrong.
    """
    path = folder / SPEC_FILE
    try:
        return _ADAPTER.validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        # Below the discriminator, pydantic puts the kind in front of the field's name.
        field = ".".join(str(part) for part in first["loc"] if part not in ("text", "image"))
        raise InputError(f"{path}: {field + ': ' if field else ''}{first['msg']}") from error
