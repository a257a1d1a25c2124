"""From a picture file of unknown origin to RGB pixels, or to a reason why not.

Files come from shops' export scripts: truncated downloads, HTML saved as `.jpg`, 16-bit scans, CMYK
from a print house. None of them may stop a run or take its memory.
"""

import io
import stat
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_BYTES = 64 * 2**20
MAX_PIXELS = 64_000_000
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
"""Pillow reads more, by code that few people test and, for EPS, by starting Ghostscript."""


class UnreadableError(Exception):
    """The content of one item cannot be encoded; the message is the reason, for the report."""


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Silences Pillow's warnings about odd files, which say less than the report does.

    Warning filters belong to the process: to be entered by the main thread, around all work.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


def read_picture(path: Path) -> bytes:
    """The bytes of a picture file.

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
    """The picture as RGB, upright, transparency over white.

    Args:
        content: a picture file.
        size: side in pixels that will be needed; a JPEG much larger is decoded at a fraction.

    Raises:
        UnreadableError: not a picture, damaged, or of more than MAX_PIXELS.
    """
    Image.init()
    known = [name for name in FORMATS if name in Image.OPEN]
    try:
        with Image.open(io.BytesIO(content), formats=known) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise UnreadableError(f"{width} × {height} pixels are too many")
            image.draft(None, (2 * size, 2 * size))
            image.load()
            upright: Image.Image = image
            # A damaged EXIF block is no reason to lose the picture.
            with suppress(OSError, ValueError, SyntaxError, TypeError, KeyError, struct.error):
                upright = ImageOps.exif_transpose(image)
            return _as_rgb(upright)
    except UnreadableError:
        raise
    except Image.DecompressionBombError:
        raise UnreadableError("too many pixels") from None
    except UnidentifiedImageError:
        raise UnreadableError("not a picture, or of an unknown format") from None
    # Decoders that meet arbitrary bytes raise nearly anything: SyntaxError, struct.error, ….
    except Exception as error:
        raise UnreadableError(f"damaged ({error})") from error


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey; Pillow's own conversion would clip at 255
        grey = np.clip(np.asarray(image, np.int64) // 257, 0, 255).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if image.mode == "F":
        real = np.nan_to_num(np.asarray(image, np.float32))
        scale = 255 if real.max(initial=0) <= 1 else 1
        return Image.fromarray(np.clip(real * scale, 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def fit_square(
    image: Image.Image,
    size: int,
    how: Literal["pad", "crop", "stretch"],
    fill: tuple[int, int, int],
) -> NDArray[np.uint8]:
    """The picture as [size, size, 3] pixels; see `ImageEncoderSpec.resize` for `how`."""
    square = (size, size)
    match how:
        case "pad":
            image = ImageOps.pad(image, square, Image.Resampling.BICUBIC, color=fill)
        case "crop":
            image = ImageOps.fit(image, square, Image.Resampling.BICUBIC)
        case "stretch":
            image = image.resize(square, Image.Resampling.BICUBIC)
    return np.asarray(image)
