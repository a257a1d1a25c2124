"""Decoding of pictures within a budget of memory and time, whatever their files make of it."""

import gc
import io
import os
import signal
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from bundle.content.decoder import PictureDecoder
from bundle.content.pictures import FORMATS, MAX_MEMORY, MAX_PIXELS, UnreadableError
from tests.support.waiting import wait_until

SIZE = 16
MB = 2**20


@pytest.fixture(scope="module")
def decoder() -> PictureDecoder:
    return PictureDecoder(SIZE, "stretch", (0, 0, 0))


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def picture(kind: str, mode: str, width: int, height: int, **options: Any) -> bytes:
    colour = {"RGBA": (200, 0, 0, 255), "LA": (200, 255)}.get(mode, 0)
    return saved(Image.new(mode, (width, height), colour), kind, **options)


def peak_memory(decoder: PictureDecoder) -> int:
    """Most memory that the decoder's only process has ever had, in bytes."""
    (process,) = decoder._idle
    status = Path(f"/proc/{process._process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "mode", "side", "options"),
    [
        ("PNG", "RGBA", 6344, {"compress_level": 1}),
        ("PNG", "P", 6344, {"transparency": 0, "compress_level": 1}),
        ("PNG", "I;16", 6344, {"compress_level": 1}),
        ("GIF", "P", 6344, {"transparency": 0}),
        ("BMP", "P", 6344, {}),
        ("PPM", "L", 4486, {}),
        ("WEBP", "RGBA", 4486, {"lossless": True, "method": 0, "quality": 0}),
        ("AVIF", "RGBA", 4486, {"speed": 10, "subsampling": "4:4:4"}),
        ("TIFF", "F", 4486, {"compression": "tiff_adobe_deflate"}),
        ("JPEG", "RGB", 8000, {"progressive": True, "subsampling": 0}),
        ("JPEG", "CMYK", 6900, {"progressive": True, "subsampling": 0}),
    ],
)
def test_the_largest_pictures_stay_within_the_budget(
    kind: str, mode: str, side: int, options: dict[str, Any]
) -> None:
    decoder = PictureDecoder(SIZE, "stretch", (0, 0, 0))
    decoder.decode(picture(kind, mode, 8, 8, **options))
    before = peak_memory(decoder)
    content = picture(kind, mode, side, side, **options)
    assert decoder.decode(content).shape == (SIZE, SIZE, 3)
    assert peak_memory(decoder) - before - len(content) <= MAX_MEMORY


@pytest.mark.parametrize(
    ("kind", "mode", "width", "height", "message"),
    [
        ("PNG", "1", 6346, 6346, "decoding this PNG takes 385 MiB of memory, at most 384 MiB are"),
        ("GIF", "P", 60000, 672, "60000 × 672 pixels are too many: decoding this GIF takes 385"),
        ("WEBP", "RGB", 4490, 4490, "4490 × 4490 pixels are too many: decoding this WEBP takes"),
        ("TIFF", "1", 4490, 4490, "4490 × 4490 pixels are too many: decoding this TIFF takes"),
        ("JPEG", "L", 9000, 9000, f"9000 × 9000 pixels are too many: at most {MAX_PIXELS:,}"),
    ],
)
def test_larger_ones_are_refused_by_their_header(
    decoder: PictureDecoder, kind: str, mode: str, width: int, height: int, message: str
) -> None:
    with pytest.raises(UnreadableError) as caught:
        decoder.decode(picture(kind, mode, width, height))
    assert message in str(caught.value)


@pytest.mark.slow
def test_a_jpeg_is_decoded_at_reduced_size(decoder: PictureDecoder) -> None:
    content = picture("JPEG", "RGB", 8000, 8000)
    assert (decoder.decode(content) == 0).all()
    with pytest.raises(UnreadableError, match="decoding this JPEG takes"):
        decoder.decode(picture("JPEG", "CMYK", 7500, 7500, progressive=True, subsampling=0))


def chunk(name: bytes, content: bytes) -> bytes:
    checked = name + content
    return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))


def texts(count: int) -> PngImagePlugin.PngInfo:
    """Texts that are small in the file, 1 MB each as UTF-8 and 4 MB each in Python."""
    info = PngImagePlugin.PngInfo()
    for number in range(count):
        info.add_itxt(f"k{number}", "🫖" + "x" * (MB - 8), zip=True)
    return info


def many_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan, some bytes for a million blocks, comes again."""
    content = picture("JPEG", "L", 8000, 8000, progressive=True)
    start = content.rindex(b"\xff\xda")
    return content[:start] + content[start:-2] * count + b"\xff\xd9"


def run_lengths(width: int, height: int) -> bytes:
    """A BMP of which each row is one pixel and the end of the line, 4 bytes."""
    body = (b"\1\0\0\0" * height) + b"\0\1"
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(body), 0, 0, 256, 0)
    offset = 14 + len(head) + 1024
    return (
        struct.pack("<2sIHHI", b"BM", offset + len(body), 0, 0, offset) + head + bytes(1024) + body
    )


def directories(entries: int, each: int) -> bytes:
    """A TIFF with tags that all have the same large value."""
    count = 8 + 2 + 12 * entries + 4
    tags = b"".join(
        struct.pack("<HHII", 40000 + number, 1, each, count) for number in range(entries)
    )
    return b"II*\0\x08\0\0\0" + struct.pack("<H", entries) + tags + bytes(4) + bytes(each)


FORGED: dict[str, tuple[Callable[[], bytes], str]] = {
    "texts_beside_many_pixels": (
        lambda: saved(Image.new("RGBA", (6300, 6300)), "PNG", pnginfo=texts(60)),
        "takes more than 384 MiB of memory to decode",
    ),
    "many_texts": (
        lambda: saved(Image.new("L", (9, 9)), "PNG", pnginfo=texts(200)),
        "damaged (Too much memory",
    ),
    "text_bomb": (
        lambda: (
            b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 9, 8, 0, 0, 0, 0))
            + chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(9 * MB)))
        ),
        "damaged (Decompressed data too large",
    ),
    "many_scans": (lambda: many_scans(200_000), "takes more than 1 s to decode"),
    "tags": (lambda: directories(20_000, MB), "not a picture"),
    "eps": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture"),
    "svg": (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture"),
    "ico": (lambda: saved(Image.new("L", (9, 9)), "ICO"), "not a picture"),
    "empty": (lambda: b"", "not a picture"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FORGED)
def test_forged_pictures_take_no_more_than_the_budget(name: str) -> None:
    content, reason = FORGED[name]
    decoder = PictureDecoder(SIZE, "stretch", (0, 0, 0), seconds=1)
    with pytest.raises(UnreadableError) as caught:
        decoder.decode(content())
    assert reason in str(caught.value)
    assert (decoder.decode(picture("PNG", "RGB", 3, 3)) == 0).all()
    assert peak_memory(decoder) < MAX_MEMORY + 200 * MB


def test_rare_pictures_are_decoded(decoder: PictureDecoder) -> None:
    """Interlaced, animated, turned, in palettes, with profiles, run lengths."""
    red = Image.new("RGB", (40, 20), "red")
    left = Image.new("RGB", (20, 40), "blue")
    left.paste("red", (0, 0, 20, 20))
    turned = Image.Exif()
    turned[0x0112] = 6
    clear = Image.new("RGBA", (40, 20), (255, 0, 0, 0))
    frames: dict[str, Any] = {"save_all": True, "append_images": [Image.new("RGB", (40, 20))]}
    for content, colour in (
        (saved(red, "WEBP", lossless=True, **frames), (255, 0, 0)),
        (saved(red, "PNG", **frames), (255, 0, 0)),
        (saved(red, "GIF", **frames), (255, 0, 0)),
        (saved(red, "TIFF", **frames), (255, 0, 0)),
        (saved(red, "PNG", icc_profile=bytes(range(256)) * 99), (255, 0, 0)),
        (saved(red, "PNG", exif=b"Exif\0\0damaged"), (255, 0, 0)),
        (saved(clear, "PNG"), (255, 255, 255)),
        (saved(clear, "WEBP", lossless=True), (255, 255, 255)),
        (saved(red.convert("P"), "PNG", transparency=bytes(256)), (255, 255, 255)),
        (saved(Image.new("LA", (9, 9), (0, 0)), "PNG"), (255, 255, 255)),
        (saved(Image.new("I;16", (9, 9), 65535), "PNG"), (255, 255, 255)),
        (run_lengths(50, 20), (0, 0, 0)),
    ):
        assert (decoder.decode(content) == colour).all(), content[:16]
    upright = decoder.decode(saved(left, "PNG", exif=turned))
    assert (upright[:, -4:] == (255, 0, 0)).all()
    assert (upright[:, :4] == (0, 0, 255)).all()


def test_truncated_pictures_of_every_format_are_damaged(decoder: PictureDecoder) -> None:
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8))
    for kind in FORMATS:
        whole = saved(noise, kind)
        assert decoder.decode(whole).any(), kind
        for length in (len(whole) // 2, len(whole) // 8, 20):
            with pytest.raises(UnreadableError):
                decoder.decode(whole[:length])


@pytest.fixture
def process(decoder: PictureDecoder) -> Iterator[int]:
    decoder.decode(picture("PNG", "RGB", 3, 3))
    (idle,) = decoder._idle
    yield idle._process.pid


def test_a_process_that_was_ended_is_replaced(decoder: PictureDecoder, process: int) -> None:
    os.kill(process, signal.SIGKILL)
    (idle,) = decoder._idle
    wait_until(lambda: not idle.alive, "the end of the process")
    assert (decoder.decode(picture("PNG", "RGB", 3, 3)) == 0).all()


def test_processes_end_with_their_decoder() -> None:
    decoder = PictureDecoder(SIZE, "stretch", (0, 0, 0))
    decoder.decode(picture("PNG", "RGB", 3, 3))
    pid = decoder._idle[0]._process.pid
    del decoder
    gc.collect()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
