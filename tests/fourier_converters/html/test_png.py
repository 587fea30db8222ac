"""Pictures as another reader sees them."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from fourier_converters.html.png import NEGATIVE, POSITIVE, UNSIGNED, data_uri, encode


def test_signs_are_hues_strengths_are_opacities_and_nothing_is_transparent() -> None:
    strengths = np.array([[0.0, 1.0, -1.0], [1e-9, 0.5, -0.5]])

    pixels = np.asarray(Image.open(io.BytesIO(encode(strengths))).convert("RGBA"))

    assert pixels.shape == (2, 3, 4)
    assert pixels[0, 0, 3] == 0
    assert tuple(pixels[0, 1]) == (*POSITIVE, 255)
    assert tuple(pixels[0, 2]) == (*NEGATIVE, 255)
    assert tuple(pixels[1, 1, :3]) == POSITIVE
    assert 0 < pixels[1, 0, 3] < pixels[1, 1, 3] == pixels[1, 2, 3] < 255


def test_a_data_uri_holds_the_picture_in_the_hue_asked_for() -> None:
    uri = data_uri(np.ones((1, 1)), UNSIGNED)

    head, _, data = uri.partition(",")
    picture = Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA")
    assert head == "data:image/png;base64"
    assert picture.getpixel((0, 0)) == (*UNSIGNED, 255)
