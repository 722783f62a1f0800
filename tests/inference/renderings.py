"""One MNIST digit as people would send it: (H, W) ink from 0 to 1 made into files of many kinds."""

import io

import numpy as np
from PIL import Image, ImageFilter
from scipy import ndimage


def enlarged(digit, times, canvas, at):
    """Ink from 0 to 1 of a (28, 28) uint8 digit, enlarged smoothly, on an empty canvas (height, width)."""
    big = Image.fromarray(digit).resize((28 * times, 28 * times), Image.Resampling.BICUBIC)
    ink = np.zeros(canvas, np.float32)
    top, left = at
    ink[top : top + 28 * times, left : left + 28 * times] = np.asarray(big, np.float32) / 255
    return ink


def _between(ink, paper, pen):
    """An RGB picture: `pen` where the ink is 1, `paper` where it is 0; each a colour or an array of colours."""
    paper, pen = np.asarray(paper, np.float32), np.asarray(pen, np.float32)
    mixed = paper + (pen - paper) * ink[..., None]
    return Image.fromarray(mixed.clip(0, 255).astype(np.uint8))


def _file(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    stream.seek(0)
    return stream


def _large(digit):
    return enlarged(digit, 10, (380, 420), (40, 90))


def black_on_white(digit, rng):
    return _file(_between(_large(digit), (255, 255, 255), (0, 0, 0)), "PNG")


def white_on_black(digit, rng):
    return _file(_between(_large(digit), (0, 0, 0), (255, 255, 255)), "PNG")


def ink_on_cream(digit, rng):
    return _file(_between(_large(digit), (250, 240, 214), (40, 50, 150)), "PNG")


def transparent(digit, rng):
    strokes = np.zeros((380, 420, 4), np.uint8)
    strokes[..., 3] = _large(digit) * 255
    return _file(Image.fromarray(strokes), "PNG")


def tiff_16_bit(digit, rng):
    return _file(Image.fromarray((300 + 3000 * (1 - _large(digit))).astype(np.uint16)), "TIFF")


def png_16_bit(digit, rng):
    return _file(Image.fromarray((65535 * (1 - _large(digit))).astype(np.uint16)), "PNG")


# what a camera does to the picture, for each value that its EXIF tag can have
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def turned(image, orientation):
    """A JPEG stored turned, with the EXIF tag that says so."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return _file(image.transpose(TURNS[orientation]) if orientation > 1 else image, "JPEG", exif=exif, quality=90)


def exif_turned(digit, rng):
    return turned(_between(_large(digit), (255, 255, 255), (0, 0, 0)), int(rng.integers(1, 9)))


def small_in_a_corner(digit, rng):
    top, left = rng.choice([30, 900 - 86]), rng.choice([30, 1200 - 86])
    return _file(_between(enlarged(digit, 2, (900, 1200), (top, left)), (255, 255, 255), (0, 0, 0)), "PNG")


CLEAN = (
    black_on_white,
    white_on_black,
    ink_on_cream,
    transparent,
    tiff_16_bit,
    png_16_bit,
    exif_turned,
    small_in_a_corner,
)


def _lamp(shape, rng):
    """Light falling off to one side: from 1 down to 0.45."""
    y, x = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    angle = rng.uniform(0, 2 * np.pi)
    return (0.725 + 0.195 * (np.cos(angle) * x + np.sin(angle) * y))[..., None].astype(np.float32)


def shaded(digit, rng):
    ink = _large(digit)
    light = _lamp(ink.shape, rng)
    return _file(_between(ink, 245 * light * np.ones(3, np.float32), 60 * light * np.ones(3, np.float32)), "PNG")


def blurred(digit, rng):
    picture = _between(_large(digit), (235, 235, 230), (50, 50, 60))
    return _file(picture.filter(ImageFilter.GaussianBlur(8)), "PNG")


def noisy(digit, rng):
    ink = _large(digit)
    paper = 220 + rng.normal(0, 25, (*ink.shape, 3)).astype(np.float32)
    pen = 70 + rng.normal(0, 25, (*ink.shape, 3)).astype(np.float32)
    return _file(_between(ink, paper, pen), "PNG")


def jpeg_60(digit, rng):
    return _file(_between(_large(digit), (230, 228, 220), (45, 45, 70)), "JPEG", quality=60)


def tilted_sheet(digit, rng):
    sheet = _between(enlarged(digit, 9, (420, 340), (80, 44)), (240, 238, 230), (40, 40, 60)).convert("RGBA")
    turned_sheet = sheet.rotate(rng.choice([-5, 5]), Image.Resampling.BICUBIC, expand=True)
    width, height = turned_sheet.size
    table = Image.new("RGBA", (width + 40, height + 40), (95, 70, 50, 255))
    table.alpha_composite(turned_sheet, (20, 20))
    return _file(table.convert("RGB"), "JPEG", quality=85)


def chalk(digit, rng):
    ink = _large(digit)
    crumbs = np.clip(0.75 + rng.normal(0, 0.25, ink.shape), 0.2, 1).astype(np.float32)
    smear = ndimage.gaussian_filter(rng.normal(0, 150, ink.shape), 10)
    board = np.asarray((38, 70, 55), np.float32) + smear[..., None] + rng.normal(0, 4, (*ink.shape, 3))
    return _file(_between(ink * crumbs, board, (225, 225, 215)), "JPEG", quality=85)


PHOTO = (shaded, blurred, noisy, jpeg_60, tilted_sheet, chalk)


def phone(digit, rng):
    """All of it at once: a sheet on a table in slanting light, a little blurred, grainy, as a JPEG."""
    picture = Image.open(tilted_sheet(digit, rng)).resize((1000, 1200), Image.Resampling.BICUBIC)
    seen = np.asarray(picture.filter(ImageFilter.GaussianBlur(3)), np.float32)
    seen = seen * _lamp(seen.shape[:2], rng) + rng.normal(0, 8, seen.shape)
    return _file(Image.fromarray(seen.clip(0, 255).astype(np.uint8)), "JPEG", quality=60)


def row(digits, rng):
    """Digits side by side, as in a zip code: each of a size, a height and a distance of its own."""
    pieces = []
    for digit in digits:
        times = int(rng.integers(4, 7))
        columns = np.nonzero(digit.max(0) > 127)[0]
        ink = enlarged(digit, times, (200, 28 * times), (int(rng.integers(0, 200 - 28 * times + 1)), 0))
        gap = np.zeros((200, int(rng.integers(12, 40))), np.float32)
        pieces += [ink[:, max(0, columns[0] - 1) * times : (columns[-1] + 2) * times], gap]
    ink = np.hstack([np.zeros((200, 30), np.float32), *pieces])
    return _file(_between(ink, (250, 240, 214), (40, 50, 150)), "PNG")
