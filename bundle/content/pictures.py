"""Decoding of picture files of unknown origin: RGB pixels, or the reason why there are none.

Files come from export scripts of shops: truncated downloads, HTML saved as `.jpg`, 16-bit scans,
CMYK from a print house. None of them may stop a run or exhaust its memory, so they are decoded by
the processes of `bundle.content.decoder`.
"""

import io
import stat
import struct
from contextlib import suppress
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

MAX_BYTES = 64 * 2**20
"""Maximum size of a picture file, in bytes: far above any product photo."""
MAX_PIXELS = 64_000_000
"""Maximum number of pixels, which bounds the time of a JPEG; other formats need more memory."""
MAX_MEMORY = 384 * 2**20
"""Maximum memory of decoding one picture, in bytes, beside its file."""
PIXEL_MEMORY = {"JPEG": 10, "PNG": 10, "GIF": 10, "BMP": 10}
"""Maximum memory of decoding by format, in bytes a pixel: the decoded picture and another, into
which it is converted."""
MORE_PIXEL_MEMORY = 20
"""The same for other formats: their libraries have copies of their own, and pixels may be floats.
"""
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
"""Accepted formats. Pillow reads more, by rarely tested code, EPS even by running Ghostscript."""

Resize: TypeAlias = Literal["pad", "crop", "stretch"]
"""Way in which a picture becomes a square, as in `ImageEncoderSpec.resize`."""


class UnreadableError(Exception):
    """Content of an item that cannot be encoded. The message is the reason, for the report."""


def read_picture(path: Path) -> bytes:
    """Read a picture file.

    Raises:
        UnreadableError: no such file, not a regular file (a pipe would block), or too large.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableError("not a file")
        if status.st_size > MAX_BYTES:
            raise UnreadableError(f"larger than {MAX_BYTES >> 20} MiB")
        return path.read_bytes()
    except FileNotFoundError:
        raise UnreadableError("no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise UnreadableError(f"cannot be read ({reason})") from error


def decode_picture(content: bytes, size: int) -> Image.Image:
    """Decode a picture to RGB: rotated upright, transparent areas white; of several, the first.

    Args:
        content: content of a picture file.
        size: side in pixels that will be needed; a much larger JPEG is decoded at reduced size.

    Raises:
        UnreadableError: not a picture, damaged, more than MAX_PIXELS, or it takes MAX_MEMORY.
    """
    Image.init()
    known = [name for name in FORMATS if name in Image.OPEN]
    try:
        with Image.open(io.BytesIO(content), formats=known) as image:
            _reduce(image, size)
            image.load()
            # A damaged EXIF block does not make the picture unusable.
            with suppress(OSError, ValueError, SyntaxError, TypeError, KeyError, struct.error):
                ImageOps.exif_transpose(image, in_place=True)
            return _as_rgb(image)
    except (UnreadableError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise UnreadableError("not a picture, or of an unknown format") from None
    # Decoders raise nearly anything on arbitrary bytes: SyntaxError, struct.error, ….
    except Exception as error:
        raise UnreadableError(f"damaged ({error})") from error


def _reduce(image: ImageFile.ImageFile, size: int) -> None:
    """Let a JPEG be decoded at reduced size; refuse by the header what would take too much."""
    width, height = image.size
    what = f"{width} × {height} pixels are too many"
    if width * height > MAX_PIXELS:
        raise UnreadableError(f"{what}: at most {MAX_PIXELS:,}")
    image.draft(None, (2 * size, 2 * size))
    memory = image.width * image.height * PIXEL_MEMORY.get(str(image.format), MORE_PIXEL_MEMORY)
    if "progressive" in image.info:  # all coefficients of all scans, two bytes each
        memory += width * height * 2 * len(image.getbands())
    if memory > MAX_MEMORY:
        taken = f"decoding this {image.format} takes {-(-memory >> 20)} MiB of memory"
        raise UnreadableError(f"{what}: {taken}, at most {MAX_MEMORY >> 20} MiB are allowed")


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey; Pillow's own conversion would clip at 255
        grey = np.clip(np.asarray(image) // 257, 0, 255).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if image.mode == "F":
        real = np.nan_to_num(np.asarray(image))
        real *= 255 if real.max(initial=0) <= 1 else 1
        return Image.fromarray(real.clip(0, 255, out=real).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        layer = image if image.mode in ("RGBA", "LA") else image.convert("RGBA")
        white = Image.new("RGB", layer.size, "white")
        white.paste(layer, mask=layer)
        return white
    return image if image.mode == "RGB" else image.convert("RGB")


def fit_square(
    image: Image.Image,
    size: int,
    how: Resize,
    fill: tuple[int, int, int],
) -> NDArray[np.uint8]:
    """Resize a picture to [size, size, 3] pixels; `how` as in `ImageEncoderSpec.resize`.

    Raises:
        UnreadableError: nothing but padding would be left of a very narrow picture.
    """
    square = (size, size)
    if how == "pad" and round(min(image.size) * size / max(image.size)) < 1:
        raise UnreadableError(f"{image.width} × {image.height} pixels are too narrow")
    match how:
        case "pad":
            image = ImageOps.pad(image, square, Image.Resampling.BICUBIC, color=fill)
        case "crop":
            image = ImageOps.fit(image, square, Image.Resampling.BICUBIC)
        case "stretch":
            image = image.resize(square, Image.Resampling.BICUBIC)
    return np.asarray(image)
