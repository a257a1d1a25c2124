"""Shapes of the demo shop's products, in the unit square with the origin at the top left.

A shape is a list of strokes: `body` strokes are filled with the item's pattern, `cut` strokes make
holes, and `line` strokes are drawn on top in a darker tone.
"""

from typing import Literal, NamedTuple

Point = tuple[float, float]


class Stroke(NamedTuple):
    """One drawing primitive.

    Attributes:
        role: fill, hole or line.
        form: geometry; a `path` is an open line.
        points: corners; two opposite ones for ellipses and boxes.
        size: corner radius of a box, or width of a line.
    """

    role: Literal["body", "cut", "line"]
    form: Literal["polygon", "ellipse", "box", "path"]
    points: tuple[Point, ...]
    size: float = 0.0


def _body(*points: Point) -> Stroke:
    return Stroke("body", "polygon", points)


def _box(x0: float, y0: float, x1: float, y1: float, radius: float = 0.03) -> Stroke:
    return Stroke("body", "box", ((x0, y0), (x1, y1)), radius)


def _disc(
    x0: float, y0: float, x1: float, y1: float, role: Literal["body", "cut"] = "body"
) -> Stroke:
    return Stroke(role, "ellipse", ((x0, y0), (x1, y1)))


def _line(*points: Point, size: float = 0.02) -> Stroke:
    return Stroke("line", "path", points, size)


SHAPES: dict[str, tuple[Stroke, ...]] = {
    "mug": (
        _disc(0.60, 0.34, 0.92, 0.70),
        _disc(0.67, 0.41, 0.85, 0.63, "cut"),
        _box(0.18, 0.22, 0.70, 0.84, 0.08),
        _line((0.21, 0.28), (0.67, 0.28)),
    ),
    "lamp": (
        _body((0.34, 0.14), (0.66, 0.14), (0.84, 0.52), (0.16, 0.52)),
        _box(0.46, 0.52, 0.54, 0.82, 0.0),
        _box(0.30, 0.80, 0.70, 0.88, 0.04),
        _line((0.70, 0.52), (0.70, 0.64), size=0.012),
    ),
    "chair": (
        _box(0.26, 0.10, 0.70, 0.52, 0.06),
        _box(0.22, 0.52, 0.76, 0.64, 0.04),
        _body((0.24, 0.64), (0.31, 0.64), (0.26, 0.92), (0.20, 0.92)),
        _body((0.67, 0.64), (0.74, 0.64), (0.78, 0.92), (0.72, 0.92)),
        _line((0.22, 0.53), (0.76, 0.53)),
    ),
    "t-shirt": (
        _body(
            (0.34, 0.16),
            (0.66, 0.16),
            (0.94, 0.34),
            (0.84, 0.50),
            (0.73, 0.43),
            (0.73, 0.88),
            (0.27, 0.88),
            (0.27, 0.43),
            (0.16, 0.50),
            (0.06, 0.34),
        ),
        _disc(0.40, 0.08, 0.60, 0.25, "cut"),
        _line((0.27, 0.43), (0.27, 0.56), size=0.012),
        _line((0.73, 0.43), (0.73, 0.56), size=0.012),
    ),
    "hat": (
        _disc(0.04, 0.58, 0.96, 0.80),
        _box(0.26, 0.20, 0.74, 0.70, 0.16),
        _line((0.26, 0.60), (0.40, 0.635), (0.60, 0.635), (0.74, 0.60), size=0.05),
    ),
    "vase": (
        _disc(0.20, 0.38, 0.80, 0.90),
        _body((0.40, 0.18), (0.60, 0.18), (0.60, 0.50), (0.40, 0.50)),
        _box(0.34, 0.12, 0.66, 0.19, 0.03),
        _line((0.36, 0.19), (0.64, 0.19), size=0.014),
    ),
    "backpack": (
        _box(0.38, 0.07, 0.62, 0.28, 0.10),
        _disc(0.44, 0.12, 0.56, 0.24, "cut"),
        _box(0.20, 0.18, 0.80, 0.90, 0.18),
        _line((0.28, 0.56), (0.72, 0.56), (0.72, 0.82), (0.28, 0.82), (0.28, 0.56), size=0.016),
        _line((0.26, 0.40), (0.74, 0.40), size=0.016),
    ),
    "cushion": (
        _body(
            (0.10, 0.14),
            (0.50, 0.20),
            (0.90, 0.14),
            (0.84, 0.50),
            (0.90, 0.88),
            (0.50, 0.81),
            (0.10, 0.88),
            (0.16, 0.50),
        ),
        _line((0.15, 0.19), (0.50, 0.24), (0.85, 0.19), size=0.010),
        _line((0.15, 0.83), (0.50, 0.77), (0.85, 0.83), size=0.010),
    ),
    "clock": (
        _disc(0.12, 0.12, 0.88, 0.88),
        _line((0.50, 0.26), (0.50, 0.50), (0.66, 0.60), size=0.034),
        _line((0.50, 0.14), (0.50, 0.19)),
        _line((0.50, 0.81), (0.50, 0.86)),
        _line((0.14, 0.50), (0.19, 0.50)),
        _line((0.81, 0.50), (0.86, 0.50)),
    ),
    "umbrella": (
        _disc(0.06, 0.12, 0.94, 1.00),
        Stroke("cut", "box", ((0.0, 0.56), (1.0, 1.0))),
        _disc(0.06, 0.49, 0.354, 0.63, "cut"),
        _disc(0.354, 0.49, 0.646, 0.63, "cut"),
        _disc(0.646, 0.49, 0.94, 0.63, "cut"),
        _line((0.50, 0.12), (0.50, 0.86), (0.55, 0.91), (0.61, 0.91), (0.64, 0.86), size=0.026),
    ),
    "bottle": (
        _box(0.43, 0.06, 0.57, 0.15, 0.02),
        _body((0.44, 0.15), (0.56, 0.15), (0.56, 0.30), (0.66, 0.44), (0.34, 0.44), (0.44, 0.30)),
        _box(0.34, 0.40, 0.66, 0.92, 0.06),
        _line((0.34, 0.54), (0.66, 0.54), size=0.012),
        _line((0.34, 0.78), (0.66, 0.78), size=0.012),
    ),
    "kite": (
        _body((0.50, 0.04), (0.82, 0.38), (0.50, 0.82), (0.18, 0.38)),
        _line((0.50, 0.05), (0.50, 0.82), size=0.012),
        _line((0.19, 0.38), (0.81, 0.38), size=0.012),
        _line((0.50, 0.82), (0.56, 0.88), (0.48, 0.92), (0.56, 0.97), size=0.016),
    ),
}
