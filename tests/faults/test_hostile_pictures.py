"""Pictures made to take hours or gigabytes: each is read or refused in a line, within bounds, and ends on SIGTERM."""

import io
import re
import resource
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lenet_lightning.inference import picture
from tests.inference import corpus, telephone

ROOT = Path(__file__).parents[2]
LIMIT_S = 10  # of CPU
LIMIT_MB = 400  # above the imports; those of torch take 90 MB more than these
SOMETHING = object()  # a framed digit, or blank

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.platform != "linux", reason="the most memory that was taken is in /proc"),
]


def saved(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


SMALL = Image.new("L", (8, 8), 200)


def jpeg(*segments, of=SMALL, **options):
    """The segments come first, so that no resolution is known when Pillow looks for it in EXIF."""
    whole = saved(of, "JPEG", **options)
    after_jfif = 4 + int.from_bytes(whole[4:6])
    return whole[:2] + b"".join(segments) + whole[after_jfif:]


def segment(marker, body):
    return bytes([255, marker]) + struct.pack(">H", len(body) + 2) + body


def scans(count, side, grey=200, cheap=True):
    """A progressive JPEG, one of whose scans is repeated: the one of fewest or of most bytes."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side), np.uint8))
    whole = saved(image if grey is None else Image.new("L", (side, side), grey), "JPEG", progressive=True, quality=95)
    # tables, if it has any of its own, and the scan
    _, *parts = re.split(rb"(?=\xff[\xda\xc4])", whole[:-2])
    repeated, tables = [], b""
    for part in parts:
        tables += part
        if part[1] == 0xDA:
            repeated.append(tables)
            tables = b""
    repeated = sorted(repeated[1:], key=len)
    return whole[:-2] + repeated[0 if cheap else -1] * count + b"\xff\xd9"


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(before=b"", after=b""):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 1, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0" + b"\xff" * 8))
    return b"\x89PNG\r\n\x1a\n" + header + before + pixels + after + chunk(b"IEND", b"")


PROFILE = chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(1 << 20)))


def directory(entries, order="<"):
    packed = b"".join(struct.pack(f"{order}HHII", *entry) for entry in sorted(entries))
    head = b"II*\0" if order == "<" else b"MM\0*"
    return head + struct.pack(f"{order}IH", 8, len(entries)) + packed + bytes(4)


def shared(count, size):
    """A directory all of whose values are the same bytes, of its own."""
    return directory([(1000 + each, 7, size, 0) for each in range(count)]).ljust(size, b"\0")


def tiff(width, height, entries=(), data=b"", compression=1):
    """Grey; `entries` may have the place of `data` as None."""
    every = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, 1, 8), (259, 3, 1, compression), (262, 3, 1, 1)]
    every += entries
    end = 8 + 2 + 12 * len(every) + 4
    return directory([tuple(end if value is None else value for value in entry) for entry in every]) + data


def below(order):
    """A TIFF whose EXIF directory is the hostile one."""
    many = [(1000 + each, 7, 1_000_000, 0) for each in range(2000)]
    place = 200
    head = [(256, 3, 1, 8), (257, 3, 1, 8), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8)]
    head += [(278, 3, 1, 8), (279, 4, 1, 64), (34665, 4, 1, place)]
    if order == ">":
        head = [(tag, kind, count, value << 16 if kind == 3 else value) for tag, kind, count, value in head]
    whole = directory(head, order).ljust(place, b"\0")
    return (whole + directory(many, order)[8:]).ljust(1_000_000, b"\0")


GIF = saved(Image.new("L", (1, 1), 255), "GIF")
FIRST = GIF.index(b",")
BLOCK = b"\xff" + b"a" * 255


def overlapping():
    side, count = 7000, 100_000
    end = 8 + 2 + 12 * 7 + 4
    offsets = struct.pack("<I", end + 4 * count) * count
    return tiff(side, side, [(273, 4, count, None), (278, 3, 1, side // 2)], offsets + bytes(side * side // 2))


def runs(run, lines, side=4400):
    """A BMP of run lengths, of 256 colours."""
    palette = b"".join(bytes([each, 255 - each, each, 0]) for each in range(256))
    header = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, 0, 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 54 + len(palette)) + header + palette + run * lines + b"\0\1"


def heic_that_claims(side, claimed):
    """Decoders find out late that a picture is larger than its file says."""
    whole = telephone.heic_bytes(Image.new("L", (side, side), 200))
    at = whole.index(b"ispe") + 8
    return whole[:at] + struct.pack(">II", claimed, claimed) + whole[at + 8 :]


REFUSED = {
    "large.heic": (lambda: heic_that_claims(64, 5_001), "25 million pixels"),
    "scans.jpg": (lambda: scans(35_000, 7000), "12 scans"),
    "scans hidden.jpg": (lambda: scans(35_000, 3000).replace(b"\xff\xda", b"\xff\xff\xff\xda"), "66 scans"),
    "scans of a small one.jpg": (lambda: scans(35_000, 8), "600 scans"),
    "coefficients.jpg": (lambda: saved(Image.new("CMYK", (7000, 7000)), "JPEG", progressive=True), "in several scans"),
    "comments.jpg": (lambda: jpeg(segment(0xFE, b"") * 1_000_000), "3,000 parts before"),
    "long comments.jpg": (lambda: jpeg(segment(0xFE, bytes(65_000)) * 4_000), "3,000 parts|8,000,000 bytes before"),
    "exif.jpg": (lambda: jpeg(segment(0xE1, b"Exif\0\0" + shared(2_700, 60_000))), "8,000,000 bytes in its dir"),
    "exif of exif.jpg": (
        lambda: jpeg(segment(0xE1, b"Exif\0\0Exif\0\0" + shared(2_700, 60_000))),
        "8,000,000 bytes in its dir",
    ),
    "exif in parts.jpg": (
        lambda: jpeg(
            *[segment(0xE1, b"Exif\0\0" + shared(2_700, 300_000)[at : at + 65_000]) for at in (0, 65_000)] * 4
        ),
        "3,000 entries|8,000,000 bytes in its dir",
    ),
    "mpf.jpg": (lambda: jpeg(segment(0xE2, b"MPF\0" + shared(2_700, 60_000))), "8,000,000 bytes in its dir"),
    "exif.png": (lambda: png(chunk(b"eXIf", shared(2_900, 1_000_000))), "8,000,000 bytes in its dir"),
    "exif after.png": (lambda: png(after=chunk(b"eXIf", shared(2_900, 1_000_000))), "8,000,000 bytes in its dir"),
    "exif as text.png": (
        lambda: png(
            chunk(
                b"zTXt",
                b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n  1\n" + shared(2_900, 60_000).hex().encode()),
            )
        ),
        "8,000,000 bytes in its dir",
    ),
    "profiles.png": (lambda: png(PROFILE * 10_000), "1,000 chunks"),
    "profiles after.png": (lambda: png(after=PROFILE * 10_000), "1,000 chunks"),
    "private.png": (lambda: png(chunk(b"vpAg", bytes(300_000_000))), "8,000,000 bytes"),
    "private after.png": (lambda: png(after=chunk(b"vpAg", bytes(300_000_000))), "8,000,000 bytes"),
    "empty pixels.png": (lambda: png(chunk(b"IDAT", b"") * 5_000_000), "200,000 chunks of pixels"),
    "comment.gif": (lambda: GIF[:FIRST] + b"!\xfe" + BLOCK * 60_000 + b"\0" + GIF[FIRST:], "3,000 parts"),
    "comments.gif": (lambda: GIF[:FIRST] + b"!\xfe\1a\0" * 1_000_000 + GIF[FIRST:], "3,000 parts"),
    "blocks.gif": (lambda: GIF[:-2] + b"\1\0" * 20_000_000 + GIF[-2:], "1,000,000 parts"),
    "tags.tif": (
        lambda: tiff(8, 8, [(10_000 + each, 7, 10_000_000, 0) for each in range(2_000)], bytes(10_000_000)),
        "8,000,000 bytes in its dir",
    ),
    "exif.tif": (lambda: below("<"), "8,000,000 bytes in its dir"),
    "exif big-endian.tif": (lambda: below(">"), "8,000,000 bytes in its dir"),
    "strips.tif": (
        lambda: tiff(8, 8, [(273, 3, 8_000_000, None)], bytes(16_000_000)),
        "200,000 numbers in its dir",
    ),
    "overlap.tif": (overlapping, "4 layers"),
    "turned.tif": (
        lambda: saved(Image.new("L", (7000, 7000)), "TIFF", tiffinfo={274: 6}),
        "40,000,000 pixels in a turned TIFF",
    ),
    "tile.tif": (
        lambda: tiff(
            8, 8, [(322, 4, 1, 40_000), (323, 4, 1, 40_000), (324, 4, 1, None), (325, 4, 1, 8)], zlib.compress(b""), 8
        ),
        "200,000,000 bytes in a strip or a tile",
    ),
    "large lines.bmp": (lambda: runs(b"\1\1\0\0", 7000, side=7000), "20,000,000 pixels in run lengths"),
    "runs of nothing.bmp": (lambda: runs(b"\xff\1", 20_000_000), "1,000,000 parts"),
    "animated.webp": (lambda: b"RIFF\0\0\0\5WEBPVP8L" + bytes(90_000_000), "80,000,000 bytes"),
    "long.png": (lambda: saved(Image.new("L", (1, 65_536)), "PNG"), "65,535 pixels a side"),
    "longest.png": (lambda: saved(Image.new("L", (50_000_000, 1)), "PNG"), "65,535 pixels a side"),
}


def noise(*shape):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, np.uint8))


READ = {
    "large enough.heic": lambda: telephone.heic_bytes(Image.new("RGB", (5_700, 4_280), "white")),
    "most scans.jpg": lambda: scans(6, 7000, None, cheap=False),
    "most scans of a small one.jpg": lambda: scans(480, 1000, None, cheap=False),
    "noise.jpg": lambda: saved(noise(7000, 7000, 3), "JPEG", quality=95, subsampling=0),
    "cmyk.jpg": lambda: saved(Image.new("CMYK", (7000, 7000)), "JPEG"),
    "noise.png": lambda: saved(noise(7000, 7000, 4), "PNG", compress_level=1),
    "noise.gif": lambda: saved(noise(7000, 7000), "GIF"),
    "noise.webp": lambda: saved(noise(4400, 4400, 4), "WEBP", lossless=True, method=0),
    "frames.gif": lambda: GIF[:-1] + GIF[FIRST:-1] * 300_000 + b";",
    "comment after.gif": lambda: GIF[:-1] + b"!\xfe" + BLOCK * 60_000 + b"\0" + GIF[FIRST:],
    "lines.bmp": lambda: runs(b"\1\1\0\0", 4400),
    "one strip.tif": lambda: saved(
        Image.new("RGBA", (7000, 7000)), "TIFF", compression="tiff_deflate", strip_size=10**9
    ),
    "two strips.tif": lambda: saved(Image.new("CMYK", (7000, 7000)), "TIFF", strip_size=98_000_000),
    "jpeg.tif": lambda: saved(noise(7000, 7000, 3), "TIFF", compression="jpeg"),
    "checkers.png": lambda: saved(Image.fromarray((np.indices((7000, 7000)).sum(0) % 2 * 255).astype(np.uint8)), "PNG"),
    "wide.png": lambda: saved(Image.new("RGBA", (65_535, 762)), "PNG"),
    "thin.png": lambda: saved(Image.new("L", (1, 65_535), 255), "PNG"),
}

READER = """
import sys, time
from lenet_lightning.errors import RunError
from lenet_lightning.inference import picture
# getrusage counts what pytest took as this process's own
megabytes = lambda: int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) // 1024
before = megabytes()
error = ""
for read in (picture.frame, picture.frame_rows, lambda path: picture.thumbnail(path, 140)):
    start = time.process_time()
    try:
        read(sys.argv[1])
    except RunError as failure:
        error = str(failure)
    print(time.process_time() - start, megabytes() - before, error, sep="\\t")
"""


def bounds():
    resource.setrlimit(resource.RLIMIT_AS, (6_000_000_000,) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (4 * LIMIT_S,) * 2)


def read(path):
    """Frame it, as a line, too, and draw it, in a process of its own; the errors."""
    line = [sys.executable, "-c", READER, str(path)]
    done = subprocess.run(line, cwd=ROOT, preexec_fn=bounds, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    results = [line.split("\t") for line in done.stdout.splitlines()]
    print(path.name, path.stat().st_size, results)
    assert max(float(seconds) for seconds, _, _ in results) < LIMIT_S
    assert max(float(megabytes) for _, megabytes, _ in results) < LIMIT_MB
    return {error for _, _, error in results}


@pytest.mark.parametrize("name", REFUSED)
def test_a_hostile_picture_is_refused_in_a_line(tmp_path, name):
    make, rule = REFUSED[name]
    path = tmp_path / name
    path.write_bytes(make())
    (error,) = read(path)
    remedy = "(save it again|(turn it or )?make it smaller)"
    assert re.fullmatch(rf"{re.escape(str(path))}: must have at most [^\n]*({rule})[^\n]*; {remedy}", error)


def test_a_heic_larger_than_it_claims_is_refused_within_bounds(tmp_path):
    path = tmp_path / "larger.heic"
    path.write_bytes(heic_that_claims(4_000, 100))
    (error,) = read(path)
    assert error.startswith(f"{path}: cannot be read: ")


@pytest.mark.parametrize("name", READ)
def test_a_large_or_strange_picture_is_read_within_bounds(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(READ[name]())
    assert read(path) == {""}


@pytest.mark.parametrize("name", ["most scans.jpg", "jpeg.tif"])
def test_sigterm_ends_predict_in_the_midst_of_a_picture(tmp_path, name):
    (tmp_path / name).write_bytes(READ[name]())
    line = [sys.executable, "-m", "lenet_lightning", "predict", *[str(tmp_path / name)] * 20]
    with subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr.readline().startswith("weights ")
        time.sleep(1)
        running.send_signal(signal.SIGTERM)
        start = time.monotonic()
        try:
            running.communicate(timeout=60)
        finally:
            running.kill()
        print(f"ended {time.monotonic() - start:.1f} s after SIGTERM, with {running.returncode}")
        assert running.returncode in (-signal.SIGTERM, 128 + signal.SIGTERM)
        assert time.monotonic() - start < LIMIT_S


def test_what_real_pictures_hold_is_read(tmp_path):
    """A telephone's: a thumbnail with scans of its own, a colour profile, EXIF, and a film behind the picture."""
    thumbnail = saved(Image.new("RGB", (160, 120)), "JPEG", progressive=True)
    exif = Image.Exif()
    exif[0x0112] = 1
    noisy = np.random.default_rng(0).integers(0, 256, 4_000_000, np.uint8).tobytes()
    film = noisy + b"\xff\xda" * 2_000
    path = tmp_path / "seven.jpg"
    corpus.seven(side=3000, mode="RGB").save(
        path, progressive=True, exif=exif.tobytes() + thumbnail, icc_profile=noisy[:2_000_000]
    )
    path.write_bytes(path.read_bytes() + film)
    assert np.abs(picture.frame(path).pixels.astype(int) - picture.frame(corpus.seven(side=3000)).pixels).mean() < 2
