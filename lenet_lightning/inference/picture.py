"""Read any picture of a digit, from a file or memory, as an image framed like MNIST's."""

import io
import itertools
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError

from lenet_lightning.errors import RunError, UsageError, one_line, printable
from lenet_lightning.inference import arrays, formats, framing, lines, transparency
from lenet_lightning.inference.bounded import BoundedFile, TooMuchError, check_exif

INVERT = ("auto", "yes", "no")

# a phone's largest; decoding takes five bytes a pixel
MAX_PIXELS = 50_000_000
# whose decoders take several times as much memory as the others
MAX_PIXELS_OF = {"WEBP": 20_000_000, "HEIF": 25_000_000}
# JPEG's limit; a longer strip takes much memory and holds no digit
MAX_SIDE = 65_535

# a larger JPEG picture is decoded at a half, a quarter or an eighth of its size
_LARGE = (2000, 2000)
_DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")
_TILE = (4096, 256)  # columns and rows that are converted at once

Picture = Path | str | BinaryIO | bytes | Image.Image | np.ndarray | list[Any]


@dataclass(frozen=True)
class Framed:
    """A digit as the network sees it.

    Attributes:
        pixels: (28, 28) uint8, bright on black; None if the picture is blank.
        notice: what the user should know about how the picture was read, or None.
    """

    pixels: np.ndarray | None = field(repr=False)
    notice: str | None = None


@dataclass(frozen=True)
class FramedRows:
    """Rows of digits as the network sees them.

    Attributes:
        found: in the picture upright; if it may lie on its side, also in the picture turned.
        scale: pixels of the picture per pixel of what was searched: a large JPEG picture is decoded smaller.
        notice: what the user should know about how the picture was read, or None.
    """

    found: tuple[lines.Found, ...]
    scale: float
    notice: str | None = None


def frame(picture: Picture, invert: str = "auto") -> Framed:
    """Find the digit in a picture and frame it as MNIST does; a picture that is already framed so is kept as it is.

    Args:
        picture: a file's path, an open file or its bytes, a PIL image, or what `arrays.as_image` takes.
        invert: whether the ink is lighter than the background: "yes", "no", or "auto" to detect it.

    Raises:
        RunError: the picture is damaged, not a picture, of an unsupported format, or too large.
        UsageError: it is none of these; as `arrays.as_image`.
    """
    grey, notices, _ = _grey(picture)
    for ink in {"auto": (grey, 255 - grey), "yes": (grey,), "no": (255 - grey,)}[invert]:
        if framing.is_framed(ink):
            return Framed(ink, _joined(notices))
    found = framing.find(grey, invert)
    if found.digit is None:
        return Framed(None, _joined(["blank", *notices]))
    if found.apart > 1:
        notices.append(f"{found.apart} digits? --line reads a row of them")
    elif found.wide:
        notices.append("wider than a digit: several that touch? --line reads them")
    return Framed(found.digit, _joined(notices))


def frame_rows(picture: Picture, invert: str = "auto") -> FramedRows:
    """Find the rows of digits in a picture, frame what stands apart in them, and make a strip of each row.

    Arguments and errors are those of `frame`.
    """
    grey, notices, scale = _grey(picture)
    found = lines.find(grey, invert)
    return FramedRows(tuple(found), scale, _joined([*([] if found[0].lines else ["blank"]), *notices]))


def _joined(notices: list[str]) -> str | None:
    return "; ".join(notices) or None


def thumbnail(picture: Picture, side: int) -> Image.Image:
    """Return the picture in colour, opaque and upright, its longest side at most `side` pixels.

    Errors are those of `frame`.
    """
    with _opened(picture) as image:
        image.draft("RGB", _LARGE)
        # subsampled first: another copy of a large picture would take much memory
        some = [max(1, length // max(1, max(image.size) // (8 * side))) for length in image.size]
        few = (Image.fromarray(_levels(image)) if image.mode in _DEEP else image).resize(some, Image.Resampling.NEAREST)
        few = few.convert("RGB" if few.mode in ("CMYK", "HSV") else "RGBA").convert("RGBA")
        few.getexif()[ExifTags.Base.Orientation] = _orientation(image)
        upright = ImageOps.exif_transpose(few)
        upright.thumbnail((side, side))
        laid = Image.new("RGBA", upright.size, transparency.backing(upright))
        laid.alpha_composite(upright)
        return laid.convert("RGB")


def _grey(picture: Picture) -> tuple[np.ndarray, list[str], float]:
    """Return the grey levels (height, width), uint8, upright and opaque; notices; the picture's pixels per level."""
    with _opened(picture) as image:
        animated, longest = _is_animated(image), max(image.size)
        image.draft("L", _LARGE)
        grey, orientation = _levels(image), _orientation(image)
    del image  # else it would stay in memory beside two grey copies
    if orientation != 1:
        turned = Image.fromarray(grey)
        turned.getexif()[ExifTags.Base.Orientation] = orientation
        grey = np.asarray(ImageOps.exif_transpose(turned))
    return grey, ["only the first of its frames was read"] if animated else [], longest / max(grey.shape)


def _is_animated(image: Image.Image) -> bool:
    if not isinstance(image, ImageFile.ImageFile):
        return False
    if image.format == "GIF" and image.tile and isinstance(image.fp, BoundedFile):
        return image.fp.has_second_frame(image)
    return (
        getattr(image, "is_animated", False) and image.format != "MPO"
    )  # a telephone's JPEG, with smaller copies behind it


def _orientation(image: Image.Image) -> int:
    profile = image.info.get("Raw profile type exif", "")  # as ImageMagick writes it, after three lines
    for exif in (image.info.get("exif") or b"", bytes.fromhex("".join(profile.split("\n")[3:]))):
        check_exif(exif)
    return image.getexif().get(ExifTags.Base.Orientation, 1)


@contextmanager
def _opened(picture: Picture) -> Iterator[Image.Image]:
    if not isinstance(picture, Image.Image) and arrays.is_array(picture):
        picture = arrays.as_image(picture)
    elif isinstance(picture, bytes | bytearray | memoryview):
        picture = io.BytesIO(picture)
    elif not isinstance(picture, Image.Image | Path | str) and not hasattr(picture, "read"):
        raise UsageError(
            "a picture must be a path, an open file, its bytes, a PIL image, an array, a tensor or a list of rows, "
            f"got {type(picture).__name__}"
        )
    if isinstance(picture, Path | str):
        name = printable(picture)
        _check_file(picture, name)
    else:
        name = printable(getattr(picture, "name", "the picture"))
    most = MAX_PIXELS
    try:
        with warnings.catch_warnings(), ExitStack() as closing:
            warnings.simplefilter("ignore")  # about damage that Pillow repairs
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            file = None
            if isinstance(picture, Image.Image):
                image = picture
            else:
                opened: Any = picture
                if isinstance(picture, Path | str):
                    opened = closing.enter_context(open(picture, "rb"))
                file = BoundedFile(opened)
                image = closing.enter_context(Image.open(file, formats=formats.readable(file.head)))
            most = MAX_PIXELS_OF.get(image.format or "", MAX_PIXELS)
            if image.width * image.height > most:
                raise Image.DecompressionBombError
            if max(image.size) > MAX_SIDE:
                raise TooMuchError(MAX_SIDE, "pixels a side", "make it smaller")
            if file is not None:
                assert isinstance(image, ImageFile.ImageFile)
                file.decode(image)
            yield image
            return
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        reason = f"must have at most {most // 1_000_000} million pixels, has more; make it smaller"
    except UnidentifiedImageError:
        reason = (
            f"must be a picture ({', '.join(formats.FORMATS)}), is something else or damaged; save it as one of these"
        )
    except (TooMuchError, UsageError) as error:
        reason = str(error)
    # a damaged file can make its decoder raise anything, and some intact ones cannot be converted
    except Exception as error:
        reason = f"cannot be read: {one_line(error) or type(error).__name__}; save it again"
    raise RunError(f"{name}: {reason}")


def _check_file(path: Path | str, name: str) -> None:
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        broken = " (a broken link)" if os.path.islink(path) else ""
        raise RunError(
            f"{name}: cannot be read: {one_line(getattr(error, 'strerror', None) or error)}{broken}; pass another"
        ) from error
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
        raise RunError(f"{name}: must be a picture file, is {kind}; pass another")
    if not os.access(path, os.R_OK):
        raise RunError(f"{name}: cannot be read: {os.strerror(13)}; change its permissions")


def _levels(image: Image.Image) -> np.ndarray:
    deep = image.mode in _DEEP
    clear = image.has_transparency_data
    backing = transparency.backing(image) if clear else "white"
    low, high = cast(tuple[float, float], image.getextrema()) if deep else (0, 255)  # all deep modes have one band
    grey = np.empty((image.height, image.width), np.uint8)
    columns, lines = _TILE
    # in tiles: the whole picture as floats or made opaque would take much memory
    for left, top in itertools.product(range(0, image.width, columns), range(0, image.height, lines)):
        box = (left, top, min(left + columns, image.width), min(top + lines, image.height))
        tile = image if box == (0, 0, *image.size) else image.crop(box)
        if deep:
            values = np.asarray(tile, np.float64)
            if not np.isfinite(values).all():
                raise ValueError("it has pixels that are not finite numbers")
            levels = np.rint((values - low) * (255 / max(high - low, 1e-30)))
        elif clear:
            laid = Image.new("RGBA", tile.size, backing)
            laid.alpha_composite(tile.convert("RGBA"))
            levels = np.asarray(laid.convert("L"))
        else:
            # Pillow converts these two to grey only by way of RGB
            coloured = tile.convert("RGB") if tile.mode in ("CMYK", "HSV") else tile
            levels = np.asarray(coloured.convert("L"))
        grey[top : top + lines, left : left + columns] = levels
    return grey
