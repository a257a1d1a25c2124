"""Pictures fitted into a square: a part of the picture is in it, or the picture is refused."""

import pytest
from PIL import Image

from bundle.content.pictures import UnreadableError, fit_square

GREY = (128, 128, 128)


@pytest.mark.parametrize("size", [(1, 300), (300, 1), (2, 600), (224, 100)])
def test_narrow_pictures_are_not_padded_away(size: tuple[int, int]) -> None:
    pixels = fit_square(Image.new("RGB", size, "red"), 224, "pad", GREY)
    assert pixels.shape == (224, 224, 3)
    assert (pixels == (255, 0, 0)).all(axis=2).any()


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (3, 2000)])
def test_pictures_of_which_nothing_would_be_left_are_refused(size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, "red")
    with pytest.raises(UnreadableError, match=f"{size[0]} × {size[1]} pixels are too narrow"):
        fit_square(image, 224, "pad", GREY)
    for how in ("crop", "stretch"):
        assert (fit_square(image, 224, how, GREY) == (255, 0, 0)).all()
