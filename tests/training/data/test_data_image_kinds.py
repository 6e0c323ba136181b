"""Every kind of image is decoded right, and damage never fails otherwise than by name."""

import contextlib
import io
import warnings

import numpy as np
import PIL.Image
import pytest
from image_files import decoded, png

from optlab.training import data


def ramp(mode="RGB"):
    """Four quarters: red, green, blue, white."""
    image = PIL.Image.new("RGB", (4, 4))
    for box, colour in (((0, 0), "red"), ((2, 0), "lime"), ((0, 2), "blue"), ((2, 2), "white")):
        image.paste(colour, (*box, box[0] + 2, box[1] + 2))
    return image.convert(mode)


CORNERS = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]


def corners(array):
    return [array[i, j].tolist() for i in (0, -1) for j in (0, -1)]


@pytest.mark.parametrize("name", ["x.png", "x.bmp", "x.tif", "x.gif", "x.webp", "x.ppm"])
def test_lossless_formats_keep_their_colours(tmp_path, name):
    save = {"lossless": True} if name == "x.webp" else {}
    assert corners(decoded(tmp_path, ramp(), name=name, save=save)) == CORNERS


def test_jpeg_keeps_its_colours_about(tmp_path):
    image = ramp().resize((400, 400), PIL.Image.Resampling.NEAREST)
    result = decoded(tmp_path, image, name="x.jpg", save={"quality": 95})
    np.testing.assert_allclose(corners(result), CORNERS, atol=12)


def test_a_large_jpeg_is_not_decoded_too_small(tmp_path):
    stripes = np.kron(np.tile(np.uint8([[60, 180]]), (64, 32)), np.ones((4, 4), np.uint8))
    options = {"quality": 95}
    result = decoded(tmp_path, PIL.Image.fromarray(stripes), 64, "x.jpg", options)
    np.testing.assert_allclose(result[..., 0], stripes[::4, ::4], atol=35)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["x.png", "x.tif", "x.jpg"])
def test_an_image_is_turned_upright(tmp_path, orientation, name):
    size = (64, 32) if orientation < 5 else (32, 64)
    upright = ramp().resize((64, 32), PIL.Image.Resampling.NEAREST)
    turns = [None, 0, 3, 1, 5, 2, 6, 4]  # how a camera held otherwise would have stored it
    turn = turns[orientation - 1]
    stored = upright if turn is None else upright.transpose(turn)
    assert stored.size == size
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    result = decoded(tmp_path, stored, size=(4, 8), name=name, save={"exif": exif})
    np.testing.assert_allclose(corners(result), CORNERS, atol=60 if name == "x.jpg" else 0)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_unknown_orientation_turns_nothing(tmp_path, orientation):
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    assert corners(decoded(tmp_path, ramp(), save={"exif": exif})) == CORNERS


def test_grey_is_grey_in_three_channels_and_colours_are_weighted_into_one(tmp_path):
    grey = PIL.Image.new("L", (4, 4), 77)
    assert decoded(tmp_path, grey)[0, 0].tolist() == [77, 77, 77]
    assert decoded(tmp_path, grey, channels=1).shape == (4, 4, 1)
    assert decoded(tmp_path, grey, channels=1)[0, 0].tolist() == [77]
    weighted = decoded(tmp_path, ramp(), channels=1)
    assert [x for [x] in corners(weighted)] == [76, 150, 29, 255]


def test_one_bit_becomes_black_and_white(tmp_path):
    image = PIL.Image.new("1", (4, 4))
    image.paste(1, (0, 0, 2, 4))
    assert [x[0] for x in corners(decoded(tmp_path, image))] == [255, 0, 255, 0]


@pytest.mark.parametrize(("background", "expected"), [("white", 255), ("black", 0)])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
@pytest.mark.parametrize("channels", [1, 3])
def test_transparent_pixels_show_the_background(tmp_path, background, expected, mode, channels):
    image = PIL.Image.new("RGBA", (4, 4), (90, 90, 90, 255))
    image.paste((200, 10, 30, 0), (0, 0, 2, 4))
    image = image.convert("RGBA").quantize() if mode == "P" else image.convert(mode)
    result = decoded(tmp_path, image, background=background, channels=channels)
    assert result[0, 0].tolist() == [expected] * channels
    assert result[0, 3].tolist() == [90] * channels


def test_half_transparent_pixels_are_mixed_with_the_background(tmp_path):
    image = PIL.Image.new("RGBA", (4, 4), (0, 0, 0, 51))
    assert decoded(tmp_path, image)[0, 0].tolist() == [204, 204, 204]
    assert decoded(tmp_path, image, background="black")[0, 0].tolist() == [0, 0, 0]


def test_a_transparent_colour_of_an_rgb_image_shows_the_background(tmp_path):
    result = decoded(tmp_path, ramp(), save={"transparency": (255, 0, 0)}, background="black")
    assert corners(result) == [[0, 0, 0], *CORNERS[1:]]


@pytest.mark.parametrize("name", ["x.jpg", "x.tif"])
def test_cmyk_becomes_rgb(tmp_path, name):
    image = PIL.Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    result = decoded(tmp_path, image, name=name, save={"quality": 100})
    np.testing.assert_allclose(result[0, 0], [255, 0, 0], atol=3)
    grey = decoded(tmp_path, image, name=name, channels=1, save={"quality": 100})
    np.testing.assert_allclose(grey[0, 0], [76], atol=3)


@pytest.mark.parametrize("channels", [1, 3])
def test_lab_becomes_rgb_and_grey(tmp_path, channels):
    image = PIL.Image.new("LAB", (4, 4), (128, 128, 128))
    result = decoded(tmp_path, image, name="x.tif", channels=channels)
    np.testing.assert_allclose(result, np.full((4, 4, channels), 119), atol=3)


@pytest.mark.parametrize("name", ["x.png", "x.tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_become_eight_by_scaling_not_by_clipping(tmp_path, name, channels):
    values = np.array([[0, 257, 32896, 65535]] * 4, np.uint16)
    result = decoded(tmp_path, PIL.Image.fromarray(values), name=name, channels=channels)
    assert result[0, :, 0].tolist() == [0, 1, 128, 255]


def test_sixteen_bits_of_three_channels_become_eight(tmp_path):
    row = np.array([[65535, 32768, 0]] * 4, ">u2").tobytes()
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.png").write_bytes(png(4, 4, 16, 2, [row] * 4))
    result = data.image_folder(tmp_path, 4, min_classes=1)["train"].gather([0])["image"][0]
    np.testing.assert_allclose(result[0, 0], [255, 128, 0], atol=1)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_thirty_two_bits_are_refused_by_name(tmp_path, mode):
    with pytest.raises(data.DataError, match=r"x\.tif: has 32 bits a channel"):
        decoded(tmp_path, PIL.Image.new(mode, (4, 4)), name="x.tif")


def test_of_an_animation_the_first_frame_counts(tmp_path):
    second = PIL.Image.new("RGB", (4, 4), "black")
    save = {"save_all": True, "append_images": [second]}
    assert corners(decoded(tmp_path, ramp(), name="x.gif", save=save)) == CORNERS


def test_the_middle_is_cut_out_and_resized(tmp_path):
    wide = PIL.Image.new("RGB", (12, 4), "black")
    wide.paste("white", (4, 0, 8, 4))
    assert decoded(tmp_path, wide).min() == 255
    tall = wide.transpose(PIL.Image.Transpose.ROTATE_90)
    assert decoded(tmp_path, tall).min() == 255
    assert decoded(tmp_path, wide, size=(4, 12)).mean() == pytest.approx(85)
    assert decoded(tmp_path, PIL.Image.new("RGB", (1, 1), "red"), size=5).shape == (5, 5, 3)


def test_shrinking_averages_instead_of_leaving_pixels_out(tmp_path):
    stripes = PIL.Image.fromarray(np.tile(np.array([0, 255], np.uint8), (64, 32)))
    np.testing.assert_allclose(decoded(tmp_path, stripes, size=4), 127.5, atol=8)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP", "PPM"])
def test_damaged_bytes_never_fail_otherwise_than_by_name(tmp_path, form):
    rng = np.random.default_rng(0)
    stream = io.BytesIO()
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    options = {"exif": exif} if form in ("PNG", "JPEG", "TIFF", "WEBP") else {}
    PIL.Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(stream, form, **options)
    good = stream.getvalue()
    (tmp_path / "a").mkdir()
    file = tmp_path / "a" / "x.png"
    for _ in range(150):
        bad = bytearray(good)
        for place in rng.integers(0, min(len(good), 300), rng.integers(1, 6)):
            bad[place] = rng.integers(0, 256)
        file.write_bytes(bad[: rng.integers(1, len(bad) + 1)] if rng.random() < 0.3 else bad)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of corrupt EXIF data
            with contextlib.suppress(data.DataError):
                data.image_folder(tmp_path, 4, min_classes=1)["train"].gather([0])
