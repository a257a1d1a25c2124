"""Pictures of the demo shop's products: an object with colour and pattern on a light background."""

import io
import math
from functools import cache
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from training.demo.shapes import SHAPES

SIDE = 128
"""Width and height of a picture in pixels."""

_WORK = 3 * SIDE // 2
"""Side of the canvas in pixels; pictures are drawn larger and reduced, for smooth edges."""

Rgb: TypeAlias = tuple[int, int, int]

COLOURS: dict[str, Rgb] = {
    "red": (205, 42, 44),
    "blue": (40, 88, 190),
    "green": (48, 142, 66),
    "yellow": (240, 200, 40),
    "purple": (122, 58, 160),
    "orange": (236, 122, 28),
    "pink": (240, 128, 172),
    "black": (44, 44, 50),
    "brown": (122, 78, 46),
    "turquoise": (36, 174, 176),
}
PATTERNS = ("plain", "striped", "dotted", "checked", "zigzag", "starry")

_GROUNDS: tuple[Rgb, ...] = ((246, 244, 240), (238, 242, 246), (244, 240, 246), (240, 246, 240))


def draw_product(category: str, colour: str, pattern: str, rng: np.random.Generator) -> bytes:
    """Draw a product as a PNG file of SIDE × SIDE pixels.

    Args:
        category: a key of `SHAPES`.
        colour: a key of `COLOURS`.
        pattern: one of `PATTERNS`.
        rng: varies tone, tilt, size, background and pattern.
    """
    base = _vary(COLOURS[colour], rng)
    mask, lines = _outline(category)
    angle, scale = float(rng.uniform(-0.16, 0.16)), float(rng.uniform(0.74, 0.94))
    shift = (float(rng.uniform(-0.03, 0.03)), float(rng.uniform(-0.03, 0.03)))
    placed, placed_lines = (_place(layer, angle, scale, shift) for layer in (mask, lines))

    picture = _ground(_GROUNDS[rng.integers(len(_GROUNDS))]).copy()
    picture.paste((120, 118, 124), mask=_shadow(placed))
    picture.paste(ImageChops.multiply(_texture(base, pattern, rng), _light()), mask=placed)
    picture.paste(_tone(base, -0.45), mask=placed_lines)

    file = io.BytesIO()
    small = picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    small.save(file, "PNG", compress_level=6)
    return file.getvalue()


def _vary(colour: Rgb, rng: np.random.Generator) -> Rgb:
    red, green, blue = np.clip(np.add(colour, rng.integers(-10, 11, 3)), 0, 255).tolist()
    return red, green, blue


def _tone(colour: Rgb, amount: float) -> Rgb:
    """The colour, lightened (amount 0…1) or darkened (-1…0)."""
    target = 255 if amount > 0 else 0
    red, green, blue = (round(c + (target - c) * abs(amount)) for c in colour)
    return red, green, blue


@cache
def _outline(category: str) -> tuple[Image.Image, Image.Image]:
    """Masks of a product's filled area and of the lines drawn over it."""
    mask, lines = Image.new("L", (_WORK, _WORK)), Image.new("L", (_WORK, _WORK))
    for stroke in SHAPES[category]:
        draw = ImageDraw.Draw(lines if stroke.role == "line" else mask)
        fill = 0 if stroke.role == "cut" else 255
        points = [(x * _WORK, y * _WORK) for x, y in stroke.points]
        match stroke.form:
            case "polygon":
                draw.polygon(points, fill=fill)
            case "ellipse":
                draw.ellipse(points, fill=fill)
            case "box":
                draw.rounded_rectangle(points, stroke.size * _WORK, fill=fill)
            case "path":
                draw.line(points, fill=fill, width=round(stroke.size * _WORK), joint="curve")
    return mask, lines


def _place(
    layer: Image.Image, angle: float, scale: float, shift: tuple[float, float]
) -> Image.Image:
    """The layer, rotated by `angle` (radians), scaled about its centre and shifted.

    `shift` is in fractions of the side.
    """
    # Pillow expects the inverse transformation, from result to source pixels.
    cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
    half = _WORK / 2
    x, y = half + shift[0] * _WORK, half + shift[1] * _WORK
    back = (cos, sin, half - cos * x - sin * y, -sin, cos, half + sin * x - cos * y)
    affine = Image.Transform.AFFINE
    return layer.transform((_WORK, _WORK), affine, back, Image.Resampling.BILINEAR)


def _shadow(placed: Image.Image) -> Image.Image:
    """Soft shadow below right; blurring at a quarter of the size takes a tenth of the time."""
    side = _WORK // 4
    small = ImageChops.offset(placed.resize((side, side)), 2, 3)
    faint = small.filter(ImageFilter.GaussianBlur(1.7)).point([round(v * 0.45) for v in range(256)])
    return faint.resize((_WORK, _WORK), Image.Resampling.BILINEAR)


@cache
def _light() -> Image.Image:
    """Lighting to multiply with: full at one side, 16 % darker at the other."""
    gradient = Image.linear_gradient("L").rotate(90).resize((_WORK, _WORK))
    shade = gradient.point([round(214 + v * 0.16) for v in range(256)])
    return Image.merge("RGB", (shade, shade, shade))


@cache
def _ground(top: Rgb) -> Image.Image:
    blend = Image.linear_gradient("L").resize((_WORK, _WORK))
    return Image.composite(
        Image.new("RGB", (_WORK, _WORK), _tone(top, -0.10)),
        Image.new("RGB", (_WORK, _WORK), top),
        blend,
    )


def _texture(base: Rgb, pattern: str, rng: np.random.Generator) -> Image.Image:
    """Square texture in the item's colour, with its pattern in a lighter tone."""
    image = Image.new("RGB", (_WORK, _WORK), base)
    draw = ImageDraw.Draw(image)
    light = _tone(base, float(rng.uniform(0.62, 0.80)))
    step = int(rng.integers(22, 33))
    start = -int(rng.integers(step))
    across = range(start, _WORK + step, step)
    match pattern:
        case "striped":
            for x in across:
                draw.rectangle((x, 0, x + 0.4 * step, _WORK), fill=light)
            if rng.random() < 0.5:
                image = image.transpose(Image.Transpose.ROTATE_90)
        case "dotted":
            for row, y in enumerate(across):
                for x in across:
                    left, r = x + (step / 2 if row % 2 else 0), 0.24 * step
                    draw.ellipse((left - r, y - r, left + r, y + r), fill=light)
        case "checked":
            for row, y in enumerate(across):
                for column, x in enumerate(across):
                    if (row + column) % 2:
                        draw.rectangle((x, y, x + step - 1, y + step - 1), fill=light)
        case "zigzag":
            for y in across:
                points = [(x, y + (step / 2 if i % 2 else 0)) for i, x in enumerate(across)]
                draw.line(points, fill=light, width=step // 4, joint="curve")
        case "starry":
            for row, y in enumerate(across):
                for x in across:
                    _star(draw, x + (step / 2 if row % 2 else 0), y, 0.42 * step, light)
        case _:
            pass
    return image


def _star(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, fill: Rgb) -> None:
    turns = np.arange(10) * np.pi / 5 - np.pi / 2
    reach = np.where(np.arange(10) % 2, 0.42, 1.0) * radius
    xs, ys = x + reach * np.cos(turns), y + reach * np.sin(turns)
    draw.polygon(list(zip(xs.tolist(), ys.tolist(), strict=True)), fill=fill)
