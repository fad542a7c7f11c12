"""Published lists of labeled images: a text file with one image a line.

A line is what its author calls the image: its file name, with or without folders, its file's stem,
for Cityscapes also without ``_leftImg8bit``, or its id in the COCO file. What follows ``#`` is a
comment.
"""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from sskd.config import nearest
from sskd.data.coco import CocoData

__all__ = ["find_images", "read_list"]

_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".json", ".png", ".tif", ".tiff", ".webp"})
_ENDINGS = ("_leftImg8bit", "_gtFine_instanceIds", "_gtFine_labelIds", "_gtFine_polygons")


def read_list(path: Path) -> tuple[str, ...]:
    """The lines of a list, in order, without comments and empty ones.

    Raises:
        ValueError: If it cannot be read as text, or lists nothing.
    """
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        raise ValueError(f"{path}: no such list of labeled images") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text at byte {error.start}") from None
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    names = tuple(line for line in lines if line)
    if not names:
        raise ValueError(f"{path}: lists no image")
    return names


def find_images(names: Sequence[str], train: CocoData, path: Path) -> tuple[int, ...]:
    """The ids of listed images, ascending, each once.

    Args:
        names: The lines of the list.
        train: The images that they name.
        path: Of the list, for messages.

    Raises:
        ValueError: If a name is of no image, with the nearest one, or of several.
    """
    by_name: dict[str, set[int]] = {}
    for image in train.images:
        for name in (image.file_name, *_short(image.file_name)):
            by_name.setdefault(name, set()).add(image.id)
    ids = {str(image.id): image.id for image in train.images}
    found = set()
    for name in names:
        spellings = (name, *_short(name))
        of_name = next((by_name[s] for s in spellings if s in by_name), None)
        if of_name is None and name in ids:
            of_name = {ids[name]}
        if of_name is None:
            stems = [_short(image.file_name)[-1] for image in train.images]
            hint = nearest(_short(name)[-1], stems)
            if hint.startswith("; known"):
                hint = f"; the images are called like {stems[0]!r}"
            raise ValueError(f"{path}: no image {name!r} in {train.path}{hint}")
        if len(of_name) > 1:
            raise ValueError(
                f"{path}: {len(of_name)} images are called {name!r}; "
                f"give file names with their folders, as in {train.path.name}"
            )
        found |= of_name
    return tuple(sorted(found))


def _short(name: str) -> tuple[str, ...]:
    """Ever shorter names of a file: without folders, without ending, without its kind."""
    pure = PurePosixPath(name.replace("\\", "/"))
    stem = pure.stem if pure.suffix.lower() in _SUFFIXES else pure.name
    kind = next((ending for ending in _ENDINGS if stem.endswith(ending)), "")
    return pure.name, stem, stem.removesuffix(kind)
