"""Titles of the demo shop's products, in varying words."""

import numpy as np

NOUNS = {
    "mug": ("mug", "coffee mug", "tea mug", "ceramic mug", "cup"),
    "lamp": ("lamp", "table lamp", "bedside lamp", "desk lamp"),
    "chair": ("chair", "dining chair", "kitchen chair", "wooden chair"),
    "t-shirt": ("t-shirt", "tee", "cotton t-shirt", "summer t-shirt"),
    "hat": ("hat", "sun hat", "brimmed hat", "felt hat"),
    "vase": ("vase", "flower vase", "ceramic vase", "round vase"),
    "backpack": ("backpack", "rucksack", "school backpack", "day pack"),
    "cushion": ("cushion", "sofa cushion", "throw pillow", "seat cushion"),
    "clock": ("clock", "wall clock", "kitchen clock", "quartz clock"),
    "umbrella": ("umbrella", "rain umbrella", "folding umbrella", "walking umbrella"),
    "bottle": ("bottle", "water bottle", "glass bottle", "drinking bottle"),
    "kite": ("kite", "diamond kite", "beach kite", "children's kite"),
}
HUES = {
    "red": ("red", "red", "scarlet", "cherry red"),
    "blue": ("blue", "blue", "navy blue", "royal blue"),
    "green": ("green", "green", "forest green", "leaf green"),
    "yellow": ("yellow", "yellow", "lemon yellow", "sunny yellow"),
    "purple": ("purple", "purple", "violet", "plum purple"),
    "orange": ("orange", "orange", "tangerine", "bright orange"),
    "pink": ("pink", "pink", "rose pink", "blush pink"),
    "black": ("black", "black", "jet black", "charcoal black"),
    "brown": ("brown", "brown", "chocolate brown", "chestnut brown"),
    "turquoise": ("turquoise", "turquoise", "teal", "aqua turquoise"),
}
LOOKS = {
    "plain": (("plain", "in one colour"), ("", ""), ("", ""), ("solid", "without a pattern")),
    "striped": (("striped", "with stripes"), ("stripy", "with a stripe pattern")),
    "dotted": (("dotted", "with dots"), ("polka-dot", "with polka dots")),
    "checked": (("checked", "with checks"), ("chequered", "with a check pattern")),
    "zigzag": (("zigzag", "with zigzags"), ("zigzag", "with a zigzag pattern")),
    "starry": (("starry", "with stars"), ("star-print", "with a star pattern")),
}
"""Per pattern, pairs of a word before the noun and a phrase after it."""

_PRAISE = ("classic", "lovely", "handmade", "cosy", "everyday", "modern", "little", "vintage")


def write_title(category: str, colour: str, pattern: str, rng: np.random.Generator) -> str:
    """Title such as "Red striped mug", "Lamp with stars, navy blue" or "Cosy pink throw pillow"."""
    noun = _pick(NOUNS[category], rng)
    hue = _pick(HUES[colour], rng)
    before, after = LOOKS[pattern][rng.integers(len(LOOKS[pattern]))]
    # Some titles omit colour or pattern, which only the picture shows.
    shown = rng.random()
    if shown < 0.08:
        before = after = ""
    elif shown < 0.14:
        hue = ""
    praise = _pick(_PRAISE, rng) if rng.random() < 0.3 else ""
    match int(rng.integers(4)):
        case 0:
            words = f"{praise} {noun} {after}{', ' + hue if hue else ''}"
        case 1:
            words = f"{praise} {hue} {noun} {after}"
        case _:
            words = f"{praise} {hue} {before} {noun}"
    title = " ".join(words.split()).replace(" ,", ",")
    return title[0].upper() + title[1:]


def _pick(words: tuple[str, ...], rng: np.random.Generator) -> str:
    return words[rng.integers(len(words))]
