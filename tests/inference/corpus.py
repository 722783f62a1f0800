"""The files that people have, good and bad: how each is made, and what `predict` should report."""

import os
import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from tests.inference import telephone
from tests.inference.renderings import TURNS

SEVEN = [(0.3, 0.25), (0.7, 0.25), (0.45, 0.78)]
FOUR = [[(0.5, 0.2), (0.3, 0.58), (0.74, 0.58)], [(0.6, 0.36), (0.6, 0.8)]]
ONE = [(0.5, 0.2), (0.5, 0.8)]


def drawn(*strokes, side=200, mode="L", ground="white", ink="black", width=0.075):
    """A digit of thick polylines, from (0, 0) to (1, 1)."""
    image = Image.new(mode, (side, side), ground)
    pen = ImageDraw.Draw(image)
    for stroke in strokes:
        points = [(x * side, y * side) for x, y in stroke]
        pen.line(points, ink, round(width * side), joint="curve")
    return image


def seven(**look):
    return drawn(SEVEN, **look)


def levels(image=None):
    """Grey from 0 to 1, (H, W) float32."""
    return np.asarray(image or seven(), np.float32) / 255


def _png(width, height):
    """A small PNG whose header promises `width` x `height` grey pixels; it holds the first 5,001 lines, all black."""

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    packer = zlib.compressobj(9)
    line = bytes(1 + width)
    body = b"".join(packer.compress(line) for _ in range(min(height, 5_001))) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def _half(path, image):
    image.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def _cut_jpeg(path):
    _half(path, drawn(SEVEN, side=400))


def _palette():
    return seven().convert("P", palette=Image.Palette.ADAPTIVE, colors=2)


def _transparent_palette(path):
    image = _palette()
    ground, palette = image.getpixel((0, 0)), image.getpalette()
    # black, too: only its transparency tells it from the ink
    palette[3 * ground : 3 * ground + 3] = 0, 0, 0
    image.putpalette(palette)
    image.save(path, transparency=ground)


def _transparent_png(mode, path):
    # black ground that is transparent, ink that is nearly black
    black, nearly = {"L": (0, 9), "RGB": ((0, 0, 0), (9, 9, 9))}[mode]
    seven(mode=mode, ground=black, ink=nearly).save(path, transparency=black)


def _strokes_on_nothing(mode):
    """Black ink on black that is transparent: without its alpha it would be all black."""
    alpha = Image.eval(seven(), lambda level: 255 - level)
    image = Image.new(mode, alpha.size, 0)
    image.putalpha(alpha)
    return image


def _frames(path, **options):
    frames = [drawn(ONE), drawn(*FOUR)]
    seven().save(path, save_all=True, append_images=frames, **options)


def turned(path, orientation, side=200, mode="L", **options):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = seven(side=side, mode=mode)
    (image.transpose(TURNS[orientation]) if orientation > 1 else image).save(path, exif=exif, **options)


def _deep(low, high, kind, path):
    Image.fromarray((low + (high - low) * levels()).astype(kind)).save(path)


def _strange(value, path):
    pixels = levels()
    pixels[5, 5] = value
    Image.fromarray(pixels).save(path)


def _adobe_cmyk(path):
    # Pillow writes an Adobe marker and the inverted values that go with it
    seven().convert("RGB").convert("CMYK").save(path)


def _plain_cmyk(path):
    _adobe_cmyk(path)
    data = path.read_bytes()
    start = data.index(b"\xff\xee")
    path.write_bytes(data[:start] + data[start + 2 + int.from_bytes(data[start + 2 : start + 4]) :])


@dataclass(frozen=True)
class Case:
    """A file, and what should come of it: a digit, with a notice or none; "blank"; or an error."""

    name: str
    make: Callable[[Path], object]
    digit: int | None = None
    notice: str | None = None
    error: str | None = None


def without_count(line):
    """How many bytes of a truncated file were left depends on Pillow's version."""
    return re.sub(r" \(\d+ bytes not processed\)", "", line)


FRAMES = "only the first of its frames was read"
NO_PICTURE = (
    "must be a picture (PNG, JPEG, GIF, BMP, WEBP, TIFF), is something else or damaged; save it as one of these"
)
A_PDF = "must be a picture (PNG, JPEG, GIF, BMP, WEBP, TIFF), is a PDF; save its page as a PNG"
TOO_LARGE = "must have at most 50 million pixels, has more; make it smaller"
TOO_LONG = "must have at most 65,535 pixels a side, has more; make it smaller"
NOT_FINITE = "cannot be read: it has pixels that are not finite numbers; save it again"


def damaged(reason):
    return f"cannot be read: {reason}; save it again"


def _lab():
    return Image.merge("LAB", (seven(), *[Image.new("L", (200, 200), 128)] * 2))


def _fifo(path):
    os.mkfifo(path)


def _write(text):
    return lambda path: path.write_bytes(text)


def _seven(make, *args):
    return lambda path: make(path, seven(), *args)


def _image(build, **options):
    return lambda path: build().save(path, **options)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 28 28\nshowpage\n%%EOF\n"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="28" height="28"><path d="M5 5h18l-9 18"/></svg>'
PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"

BAD = [
    Case("text.png", _write(b"no picture\n"), error=NO_PICTURE),
    Case("empty.png", _write(b""), error=NO_PICTURE),
    Case("drawing.eps", _write(EPS), error=NO_PICTURE),
    Case("drawing.png", _write(EPS), error=NO_PICTURE),
    Case("drawing.svg", _write(SVG), error=NO_PICTURE),
    Case("page.pdf", _write(PDF), error=A_PDF),
    Case("page.png", _write(b"\n" + PDF), error=A_PDF),
    Case("truncated.heic", _seven(telephone.cut_heic), error=NO_PICTURE),
    Case("too large.heic", _seven(telephone.heic_that_claims, 5_001, 5_000), error=TOO_LARGE.replace("50", "25")),
    Case("bomb.png", lambda path: path.write_bytes(_png(30_000, 30_000)), error=TOO_LARGE),
    Case("just too large.png", lambda path: path.write_bytes(_png(10_000, 5_001)), error=TOO_LARGE),
    Case(
        "too large.webp",
        _image(lambda: Image.new("L", (5_000, 4_001)), lossless=True, method=0),
        error=TOO_LARGE.replace("50", "20"),
    ),
    Case("a side too long.png", _image(lambda: Image.new("L", (1, 65_536), 9)), error=TOO_LONG),
    Case("truncated.png", lambda path: _half(path, seven()), error=damaged("image file is truncated")),
    Case("truncated.jpg", _cut_jpeg, error=damaged("image file is truncated")),
    Case("lab.tiff", _image(_lab), error=damaged("conversion from LAB to RGB not supported")),
    Case("nan.tiff", lambda path: _strange(np.nan, path), error=NOT_FINITE),
    Case("infinite.tiff", lambda path: _strange(np.inf, path), error=NOT_FINITE),
    Case("minus infinite.tiff", lambda path: _strange(-np.inf, path), error=NOT_FINITE),
    Case("pipe.png", _fifo, error="must be a picture file, is a pipe or a device; pass another"),
    Case(
        "broken link.png",
        lambda path: path.symlink_to("nowhere"),
        error="cannot be read: No such file or directory (a broken link); pass another",
    ),
    Case(
        "link to itself.png",
        lambda path: path.symlink_to(path.name),
        error="cannot be read: Too many levels of symbolic links (a broken link); pass another",
    ),
]

BLANK = [
    Case("all black.png", _image(lambda: Image.new("L", (300, 200), 0)), notice="blank"),
    Case("all white.png", _image(lambda: Image.new("L", (300, 200), 255)), notice="blank"),
    Case("1x1.png", _image(lambda: Image.new("L", (1, 1), 9)), notice="blank"),
    Case("1x10000.png", _image(lambda: Image.new("L", (1, 10_000), 9)), notice="blank"),
    Case("65535x1.png", _image(lambda: Image.new("L", (65_535, 1), 9)), notice="blank"),
    Case("10000x1.png", _image(lambda: Image.new("L", (10_000, 1), 9)), notice="blank"),
    Case("nothing on nothing.png", _image(lambda: Image.new("RGBA", (90, 90), (0, 0, 0, 0))), notice="blank"),
    Case("just not too large.png", lambda path: path.write_bytes(_png(10_000, 5_000)), notice="blank"),
    Case("dots.png", _image(lambda: Image.fromarray(_dots())), notice="blank"),
]


def _dots():
    """10,000 pieces of ink."""
    dots = np.full((400, 400), 255, np.uint8)
    for row, column in np.ndindex(2, 2):
        dots[row::4, column::4] = 0
    return dots


GOOD = [
    Case("grey.png", _image(seven), 7),
    Case("four.png", _image(lambda: drawn(*FOUR)), 4),
    Case("one.png", _image(lambda: drawn(ONE)), 1),
    Case("white on black.png", _image(lambda: seven(ground="black", ink="white")), 7),
    Case("colour.png", _image(lambda: seven(mode="RGB", ground="cornsilk", ink="navy")), 7),
    Case("colour.jpg", _image(lambda: seven(mode="RGB", ground="cornsilk", ink="navy")), 7),
    Case("chrome.jfif", _image(seven, format="JPEG"), 7),
    Case("telephone.jpg", _seven(telephone.mpo), 7),
    Case("telephone.mpo", _seven(telephone.mpo), 7),
    Case("telephone.heic", _seven(telephone.heic), 7),
    *[Case(f"turned {turn}.heic", _seven(telephone.turned_heic, turn), 7) for turn in (3, 6, 8)],
    Case("telephone's, with another suffix.jpg", _seven(telephone.heic), 7),
    Case("progressive.jpg", _image(seven, progressive=True), 7),
    Case("cmyk adobe.jpg", _adobe_cmyk, 7),
    Case("cmyk plain.jpg", _plain_cmyk, 7),
    Case("cmyk.tiff", _image(lambda: seven().convert("RGB").convert("CMYK")), 7),
    Case("ycbcr.jpg", _image(lambda: seven().convert("YCbCr")), 7),
    Case("1 bit.png", _image(lambda: seven(mode="1", ground=1, ink=0)), 7),
    Case("1 bit.bmp", _image(lambda: seven(mode="1", ground=1, ink=0)), 7),
    Case("1 bit.tiff", _image(lambda: seven(mode="1", ground=1, ink=0), compression="group4"), 7),
    Case("palette.bmp", _image(_palette), 7),
    Case("colour.bmp", _image(lambda: seven().convert("RGB")), 7),
    Case("colour.webp", _image(lambda: seven().convert("RGB")), 7),
    Case("palette.gif", _image(_palette), 7),
    Case("palette with transparency.gif", _transparent_palette, 7),
    Case("palette with transparency.png", _transparent_palette, 7),
    *[
        Case(f"transparent {mode}.png", lambda path, mode=mode: _transparent_png(mode, path), 7)
        for mode in ("L", "RGB")
    ],
    Case("la.png", _image(lambda: _strokes_on_nothing("L")), 7),
    Case("rgba.png", _image(lambda: _strokes_on_nothing("RGB")), 7),
    Case("rgba.webp", _image(lambda: _strokes_on_nothing("RGB"), lossless=True, exact=True), 7),
    Case("rgba.tiff", _image(lambda: _strokes_on_nothing("RGB")), 7),
    Case("16 bit.png", lambda path: _deep(0, 65_535, np.uint16, path), 7),
    Case("16 bit dark.png", lambda path: _deep(200, 900, np.uint16, path), 7),
    Case("16 bit.tiff", lambda path: _deep(0, 65_535, np.uint16, path), 7),
    Case("16 bit dark.tiff", lambda path: _deep(1_000, 3_000, np.uint16, path), 7),
    Case("32 bit.tiff", lambda path: _deep(-5, 2_000_000_000, np.int32, path), 7),
    Case("float to 1.tiff", lambda path: _deep(0, 1, np.float32, path), 7),
    Case("float large.tiff", lambda path: _deep(-1.5e38, 1.5e38, np.float32, path), 7),
    Case("animated.gif", _frames, 7, FRAMES),
    Case("animated.webp", _frames, 7, FRAMES),
    Case("animated.png", _frames, 7, FRAMES),
    Case("pages.tiff", _frames, 7, FRAMES),
    *[
        Case(f"turned {turn}{suffix}", lambda path, turn=turn: turned(path, turn), 7)
        for suffix in (".jpg", ".png", ".webp", ".tiff")
        for turn in range(1, 9)
    ],
    Case("Ziffer — 七 🖊.png", _image(seven), 7),
    Case("two\nlines.png", _image(seven), 7),
    Case("-7.png", _image(seven), 7),
]

CASES = BAD + BLANK + GOOD


def make(folder: Path) -> None:
    """Write all of them into a folder."""
    for case in CASES:
        case.make(folder / case.name)
    (folder / "empty folder").mkdir()
