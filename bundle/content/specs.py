"""What an encoder of titles or pictures expects, as it is written in its `encoder.json`.

A folder with `encoder.json` and an ONNX file is all that `bundle.content.encoders` needs to run
somebody's own encoder; the two default ones are described by the same classes.
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
    """The ONNX file, relative to the folder of `encoder.json`."""
    output: str | None = None
    """Name of the output to read; by default the first one."""


class TextEncoderSpec(_Spec):
    """An encoder of texts: token ids `[B, L]` in, states `[B, L, F]` or vectors `[B, F]` out."""

    kind: Literal["text"]
    tokenizer: str
    """A `tokenizer.json` of the library tokenizers, relative to the folder."""
    ids_input: str = "input_ids"
    mask_input: str | None = "attention_mask"
    """Input that is 1 for tokens and 0 for padding; null if the model has none."""
    types_input: str | None = "token_type_ids"
    """Input that is 0 everywhere (single sentences); null if the model has none."""
    max_length: int = Field(default=128, ge=2)
    """Tokens after which a text is cut off, special tokens included."""
    pooling: Literal["mean", "cls", "none"] = "mean"
    """How states become one vector; `none` if the model does it itself."""
    normalize: bool = True
    """Whether vectors are scaled to Euclidean length 1."""


class ImageEncoderSpec(_Spec):
    """An encoder of pictures: `[B, 3, size, size]` (or channels last) in, `[B, F]` out."""

    kind: Literal["image"]
    input: str | None = None
    """Name of the input; by default the first one."""
    size: int = Field(ge=8, le=2048)
    """Width and height in pixels that the model sees."""
    mean: Channels
    """Subtracted from red, green, blue in 0…1."""
    std: PositiveChannels
    """What the difference is divided by."""
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    resize: Literal["pad", "crop", "stretch"] = "pad"
    """Fit the whole picture in and fill up with `mean`; or cut the middle out; or distort."""
    normalize: bool = False
    """Whether vectors are scaled to Euclidean length 1."""


EncoderSpec = Annotated[TextEncoderSpec | ImageEncoderSpec, Discriminator("kind")]

_ADAPTER: TypeAdapter[TextEncoderSpec | ImageEncoderSpec] = TypeAdapter(EncoderSpec)


def read_spec(folder: Path) -> TextEncoderSpec | ImageEncoderSpec:
    """The description in `folder/encoder.json`.

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
