"""Pictures from disk as RGB, whatever their mode, turned the way their masks were drawn.

A camera may store a picture on its side and say so in EXIF. Annotation tools disagree on whether
they honour that, and the size in the COCO file tells which one drew the masks.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

__all__ = ["check_end", "check_header", "picture_files", "read_rgb", "stored_size", "upright_size"]

_ORIENTATION = 0x0112
_SIDEWAYS = (5, 6, 7, 8)
_ENDS = {".png": b"IEND\xaeB`\x82", ".jpg": b"\xff\xd9", ".jpeg": b"\xff\xd9"}
"""A whole file's last bytes: a PNG's end chunk, name and checksum, or a JPEG's end marker."""
_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


def picture_files(folder: Path) -> list[Path]:
    """Every picture below a folder, by suffix, in the order of their paths."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)


def stored_size(path: Path) -> tuple[int, int]:
    """Height and width as stored; reads the header only.

    Raises:
        ValueError: If the file is missing or no picture.
    """
    with _opened(path) as picture:
        return picture.height, picture.width


def upright_size(path: Path) -> tuple[int, int]:
    """Height and width as shown, EXIF applied; a PNG is decoded, for its EXIF may come last.

    Raises:
        ValueError: If the file is missing, no picture, or a broken PNG.
    """
    with _opened(path) as picture:
        return _upright(picture, path)


def check_header(path: Path, *, height: int, width: int) -> None:
    """Check that a picture opens, has the stated size and an end; only a PNG is decoded.

    Raises:
        ValueError: If the file is missing, no picture, a broken PNG, cut off, of floating-point
            pixels, or of another size both as stored and as shown.
    """
    with _opened(path) as picture:
        _turns(picture, path, height=height, width=width)
    check_end(path)


def check_end(path: Path) -> None:
    """Check that a PNG or JPEG file is not cut off; other files pass.

    Its last bytes tell. Only a JPEG without an end marker is decoded: decoders forgive some.

    Raises:
        ValueError: If its end is missing, or it cannot be read.
    """
    end = _ENDS.get(path.suffix.lower())
    if end is None:
        return
    try:
        with path.open("rb") as file:
            file.seek(0, io.SEEK_END)
            file.seek(-min(64, file.tell()), io.SEEK_END)
            tail = file.read()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
    if end in tail:
        return
    kind = "PNG" if end == _ENDS[".png"] else "JPEG"
    if kind == "JPEG" and _decodes(path):
        return
    raise ValueError(f"{path}: truncated {kind}: its end is missing; unpack or copy it again")


def read_rgb(path: Path, *, height: int, width: int) -> UInt8[np.ndarray, "h w 3"]:
    """The picture as 8-bit RGB of exactly the stated size.

    EXIF rotation is applied unless only the stored orientation has that size. Transparency is
    dropped; 16-bit grey is scaled by 1/257, the same for every picture.

    Raises:
        ValueError: If the file is missing, cannot be decoded, has floating-point pixels, or has
            another size.
    """
    with _opened(path) as picture:
        turns = _turns(picture, path, height=height, width=width)
        try:
            return _to_rgb(ImageOps.exif_transpose(picture) if turns else picture)
        except Exception as error:  # decoders of foreign bytes fail in any way they like
            raise ValueError(f"{path}: unreadable image: {_one_line(error)}") from None


def _decodes(path: Path) -> bool:
    try:
        with Image.open(path) as picture:
            picture.load()
    except Exception:  # decoders of foreign bytes fail in any way they like
        return False
    return True


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        picture = Image.open(path)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such image file") from None
    except UnidentifiedImageError:
        raise ValueError(f"{path}: unreadable image: not a picture that Pillow knows") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: unreadable image: {_one_line(error)}") from None
    with picture:
        yield picture


def _upright(picture: Image.Image, path: Path) -> tuple[int, int]:
    width, height = picture.size
    try:
        sideways = picture.getexif().get(_ORIENTATION) in _SIDEWAYS
    except Exception as error:  # decoders of foreign bytes fail in any way they like
        raise ValueError(f"{path}: unreadable image: {_one_line(error)}") from None
    return (width, height) if sideways else (height, width)


def _turns(picture: Image.Image, path: Path, *, height: int, width: int) -> bool:
    """Whether EXIF is to be applied, so that the picture has the stated size."""
    if picture.mode == "F":
        raise ValueError(f"{path}: floating-point pixels; convert the image to 8 or 16 bit")
    upright = _upright(picture, path)
    stored = (picture.height, picture.width)
    if upright == (height, width):
        return True
    if stored == (height, width):
        return False
    raise ValueError(
        f"{path}: the image is {upright[1]}x{upright[0]}, "
        f"but its JSON says {width}x{height} (w x h)"
    )


def _to_rgb(picture: Image.Image) -> UInt8[np.ndarray, "h w 3"]:
    if picture.mode.startswith("I"):  # 16-bit grey; Pillow widens some of it to 32 bits
        grey = (np.clip(np.asarray(picture, np.int64), 0, 65535) // 257).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if "transparency" in picture.info and picture.mode == "P":
        picture = picture.convert("RGBA")  # the way without a warning
    return np.array(picture.convert("RGB"))


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
