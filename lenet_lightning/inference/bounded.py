"""Limit what Pillow reads of a picture file, so that no file can take unbounded time or memory.

Pillow limits pixels. It does not limit what else a file may hold: scans, segments, chunks, directories, comments.
"""

import io
from typing import Any, BinaryIO, Literal

from PIL import ExifTags, ImageFile

_HEAD = 64  # bytes that tell a file's format

# while the headers are read; a WebP file is read whole
_HEADER_READS = 3_000
_HEADER_BYTES = 8_000_000
_WEBP_BYTES = 80_000_000  # four for each of 20 million pixels
# while the pixels are read: 8 bytes for each of 50 million; reads of run lengths and blocks are of a few bytes
_PIXEL_READS = 1_000_000
_PIXEL_BYTES = 400_000_000

# pixels times scans of a JPEG picture: each scan visits every pixel; usual pictures have about 10 scans
_VISITS = 600_000_000
_FEW_PIXELS = 1_000_000  # at least as many are counted: a scan itself takes time, too
# coefficients, two bytes each, that a JPEG decoder keeps from scan to scan
_KEPT_VALUES = 145_000_000

_TURNED_PIXELS = 40_000_000  # of a TIFF whose tag says that it is turned: Pillow turns a second copy in full colour
_RUN_PIXELS = 20_000_000  # of a BMP of run lengths, the one kind that Pillow decodes in Python

_CHUNKS = 1_000  # of a PNG, besides those of pixels
_PIXEL_CHUNKS = 200_000  # of 2 kB in the largest picture; programs write 8 or more
_ENTRIES = 3_000  # of TIFF directories; EXIF is made of them, too
_VALUES = 200_000  # numbers in them
_STRIP_BYTES = 200_000_000  # four for each of 50 million pixels
_LAYERS = 4  # of strips: one for each colour

# TIFF's types of values, and the bytes of one value
_BYTES = {1: 1, 2: 1, 6: 1, 7: 1}
_NUMBERS = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
_DIRECTORIES = (34665, 34853, 40965)  # tags that lead to others: EXIF, GPS, interoperability


class TooMuchError(Exception):
    """A file breaks a limit; the message is the rule."""

    def __init__(self, most: int, of_what: str, remedy: str = "save it again") -> None:
        super().__init__(f"must have at most {most:,} {of_what}, has more; {remedy}")


class BoundedFile:
    """A picture file, open for reading, that raises TooMuchError once more of it is read than a picture needs.

    Attributes:
        head: the bytes that it begins with.

    Raises:
        TooMuchError: its chunks or directories are too many or too large.
    """

    def __init__(self, file: BinaryIO) -> None:
        try:
            file.seek(0)
        except (AttributeError, io.UnsupportedOperation):  # a pipe
            file = io.BytesIO(file.read(_PIXEL_BYTES))
        self._file = file
        self._reads = self._bytes = self._scans = 0
        self._most_reads, self._most_bytes, self._where = _HEADER_READS, _HEADER_BYTES, "before its pixels"
        self._most_scans: int | None = None
        self._exif = self._last = b""
        self.head = head = file.read(_HEAD)
        if head.startswith(b"\x89PNG\r\n\x1a\n"):
            file.seek(8)
            _check_chunks(file)
        elif head[:2] in (b"II", b"MM"):
            _check_directories(file)
        file.seek(0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)  # seek, tell, fileno, getvalue

    def read(self, size: int = -1) -> bytes:
        """Return at most `size` bytes, and at most a MB; all bytes if `size` is negative."""
        if size < 0:
            data = self._file.read(_WEBP_BYTES + 1)
            if len(data) > _WEBP_BYTES:
                raise TooMuchError(_WEBP_BYTES, "bytes")
            return data
        data = self._file.read(min(size, 2**20))
        self._reads += 1
        self._bytes += len(data)
        if self._reads > self._most_reads:
            raise TooMuchError(self._most_reads, f"parts {self._where}")
        if self._bytes > self._most_bytes:
            raise TooMuchError(self._most_bytes, f"bytes {self._where}")
        if self._most_scans is None:
            self._check_metadata(data)
        else:
            # FF DA starts a scan and never occurs in its data; it may be split between two reads
            self._scans += data.count(b"\xff\xda") + (self._last[-1:] == b"\xff" and data[:1] == b"\xda")
            if self._scans > self._most_scans:
                raise TooMuchError(self._most_scans, "scans")
        self._last = data
        return data

    def _check_metadata(self, data: bytes) -> None:
        # Pillow reads each segment of a JPEG whole, and joins those of EXIF
        if data.startswith(b"Exif\0\0"):
            self._exif += data[6:]
            check_exif(self._exif)
        elif data.startswith(b"MPF\0"):
            check_exif(data[4:])

    def decode(self, image: ImageFile.ImageFile) -> None:
        """Replace the limits for headers by those for pixels; `image` is the open picture.

        Raises:
            TooMuchError: decoding would take too much memory or time.
        """
        pixels = image.width * image.height
        self._reads = self._bytes = 0
        self._most_reads, self._most_bytes, self._where = _PIXEL_READS, _PIXEL_BYTES, "in and after its pixels"
        self._most_scans = _PIXEL_BYTES
        if hasattr(image, "layer"):  # a JPEG; what was read last is its first scan's header: the number of colours, ...
            self._most_scans = _VISITS // max(pixels, _FEW_PIXELS)
            if "progressive" in image.info or self._last[0] < len(image.layer):
                wide, high = (max(colour[axis] for colour in image.layer) for axis in (1, 2))
                values = pixels * sum(colour[1] * colour[2] for colour in image.layer) // (wide * high)
                if values > _KEPT_VALUES:
                    raise TooMuchError(_KEPT_VALUES, "values in several scans")
        if pixels > _RUN_PIXELS and any(part[0] == "bmp_rle" for part in image.tile):
            raise TooMuchError(_RUN_PIXELS, "pixels in run lengths")
        extents = [part[1] or (0, 0, *image.size) for part in image.tile]
        if sum((right - left) * (low - top) for left, top, right, low in extents) > _LAYERS * pixels:
            raise TooMuchError(_LAYERS, "layers of strips")
        if hasattr(image, "tag_v2"):
            tags = image.tag_v2
            if pixels > _TURNED_PIXELS and tags.get(ExifTags.Base.Orientation, 1) != 1:
                raise TooMuchError(_TURNED_PIXELS, "pixels in a turned TIFF", "turn it or make it smaller")
            columns, rows = tags.get(322, image.width), tags.get(323, min(tags.get(278, 2**32), max(image.size)))
            if columns * rows * tags.get(277, 1) * max(tags.get(258, (1,))) > 8 * _STRIP_BYTES:
                raise TooMuchError(_STRIP_BYTES, "bytes in a strip or a tile")

    def has_second_frame(self, image: ImageFile.ImageFile) -> bool:
        """Return whether a GIF picture, not loaded yet, has another frame; Pillow's own check may take hours."""
        self.seek(image.tile[0].offset)
        self._skip_blocks()
        while (kind := self.read(1)) not in (b"", b";", b","):
            if kind == b"!":
                self.read(1)
                self._skip_blocks()
        return kind == b","

    def _skip_blocks(self) -> None:
        while size := self.read(1):
            if size == b"\0":
                return
            self.seek(size[0], io.SEEK_CUR)


def _check_chunks(file: BinaryIO) -> None:
    pixels = others = size = 0
    while (head := file.read(8)) and head[4:] != b"IEND":
        length = int.from_bytes(head[:4])
        if head[4:] in (b"IDAT", b"fdAT", b"fcTL"):
            pixels += 1
            if pixels > _PIXEL_CHUNKS:
                raise TooMuchError(_PIXEL_CHUNKS, "chunks of pixels")
        else:
            others, size = others + 1, size + length
            if others > _CHUNKS:
                raise TooMuchError(_CHUNKS, "chunks besides its pixels")
            if size > _HEADER_BYTES:
                raise TooMuchError(_HEADER_BYTES, "bytes besides its pixels")
        file.seek(length + 4, io.SEEK_CUR)


def check_exif(data: bytes) -> None:
    """Check the directories of EXIF data, which Pillow does not limit.

    Raises:
        TooMuchError: they have too many entries, numbers or bytes.
    """
    while data.startswith(b"Exif\0\0"):
        data = data[6:]
    _check_directories(io.BytesIO(data))


def _check_directories(file: BinaryIO) -> None:
    """Add up what Pillow would read of TIFF directories; values may share bytes, so few bytes can become gigabytes."""
    length = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(16)
    order: Literal["little", "big"] = "little" if head[:2] == b"II" else "big"
    big = head[2:3] == b"+"
    word = 8 if big else 4
    left = [int.from_bytes(head[word : 2 * word], order)]
    entries = values = size = 0
    while left:
        if (at := left.pop()) >= length:
            continue
        file.seek(at)
        for _ in range(int.from_bytes(file.read(8 if big else 2), order)):
            entry = file.read(4 + 2 * word)
            tag, kind, number, place = (
                int.from_bytes(part, order) for part in (entry[:2], entry[2:4], entry[4:-word], entry[-word:])
            )
            taken = number * (_BYTES | _NUMBERS).get(kind, 0)
            if len(entry) < 4 + 2 * word or (taken > word and place + taken > length):
                break  # Pillow stops here, too
            entries += 1
            values += number if kind in _NUMBERS else 0
            size += taken
            for found, most, what in (
                (entries, _ENTRIES, "entries in its directories"),
                (values, _VALUES, "numbers in its directories"),
                (size, _HEADER_BYTES, "bytes in its directories"),
            ):
                if found > most:
                    raise TooMuchError(most, what)
            if tag in _DIRECTORIES and number == 1:
                value = entry[-word:]
                if taken > word:
                    here = file.tell()
                    file.seek(place)
                    value = file.read(taken)
                    file.seek(here)
                left.append(int.from_bytes(value[:taken], order))
