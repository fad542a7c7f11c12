from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sskd.data.images import check_header, picture_files, read_rgb, stored_size, upright_size

GREY = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40


def _save(path: Path, picture: Image.Image, **options: object) -> Path:
    picture.save(path, **options)
    return path


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    if mode == "I;16":
        picture = Image.fromarray(GREY.astype(np.uint16) * 257)
    else:
        picture = Image.fromarray(GREY).convert(mode)
    path = _save(tmp_path / "a.tif", picture)
    pixels = read_rgb(path, height=2, width=3)
    assert pixels.dtype == np.uint8
    expected = np.asarray(Image.fromarray(GREY).convert("1")) * 255 if mode == "1" else GREY
    np.testing.assert_array_equal(pixels, np.repeat(expected[:, :, None], 3, axis=2))


def test_a_palette_with_transparency_keeps_its_colours(tmp_path: Path) -> None:
    picture = Image.fromarray(GREY).convert("P")
    path = _save(tmp_path / "a.png", picture, transparency=bytes([0, 128] + [255] * 254))
    np.testing.assert_array_equal(read_rgb(path, height=2, width=3)[:, :, 0], GREY)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_stated_size_decides_whether_exif_turns_the_picture(
    tmp_path: Path, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = _save(tmp_path / "a.png", Image.fromarray(GREY), exif=exif)
    # what EXIF's eight numbers mean: where the stored first row and column are to be shown
    shown = {
        1: GREY,
        2: GREY[:, ::-1],
        3: GREY[::-1, ::-1],
        4: GREY[::-1],
        5: GREY.T,
        6: GREY.T[:, ::-1],
        7: GREY.T[::-1, ::-1],
        8: GREY.T[::-1],
    }[orientation]
    height, width = shown.shape
    assert upright_size(path) == (height, width)
    np.testing.assert_array_equal(read_rgb(path, height=height, width=width)[:, :, 0], shown)
    if orientation > 4:
        np.testing.assert_array_equal(read_rgb(path, height=2, width=3)[:, :, 0], GREY)


def test_another_size_than_stated(tmp_path: Path) -> None:
    path = _save(tmp_path / "a.png", Image.fromarray(GREY))
    for check in (read_rgb, check_header):
        with pytest.raises(ValueError, match=r"a\.png: the image is 3x2, but its JSON says 7x2"):
            check(path, height=2, width=7)


def test_unreadable_images(tmp_path: Path) -> None:
    text = tmp_path / "text.png"
    text.write_text("no picture")
    with pytest.raises(ValueError, match=r"text\.png: unreadable image: not a picture"):
        check_header(text, height=2, width=3)
    noise = np.random.default_rng(0).integers(0, 256, (50, 50, 3), np.uint8)
    cut = _save(tmp_path / "cut.jpg", Image.fromarray(noise))
    whole = cut.read_bytes()
    cut.write_bytes(whole[:2000])
    with pytest.raises(ValueError, match=r"cut\.jpg: truncated JPEG: its end is missing; unpack"):
        check_header(cut, height=50, width=50)
    with pytest.raises(ValueError, match=r"cut\.jpg: unreadable image: .*truncated"):
        read_rgb(cut, height=50, width=50)
    cut.write_bytes(whole + bytes(1000))  # some cameras write on behind the end
    check_header(cut, height=50, width=50)
    half = _save(tmp_path / "half.png", Image.fromarray(noise))
    half.write_bytes(half.read_bytes()[:4000])
    assert stored_size(half) == (50, 50)
    for check in (check_header, read_rgb):
        with pytest.raises(ValueError, match=r"half\.png: unreadable image: .*truncated"):
            check(half, height=50, width=50)
    with pytest.raises(ValueError, match="no such image file"):
        upright_size(tmp_path / "none.png")
    floats = _save(tmp_path / "f.tif", Image.fromarray(GREY.astype(np.float32)))
    with pytest.raises(ValueError, match="floating-point pixels; convert"):
        read_rgb(floats, height=2, width=3)


def test_picture_files_are_found_below_a_folder_in_order(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("b.PNG", "a.jpg", "notes.txt", "sub/c.webp"):
        (tmp_path / name).touch()
    names = [path.relative_to(tmp_path).as_posix() for path in picture_files(tmp_path)]
    assert names == ["a.jpg", "b.PNG", "sub/c.webp"]
