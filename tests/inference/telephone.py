"""Files as telephones write them: HEIC, and JPEG with a second picture behind the first."""

import io
import struct

from PIL import Image
from pillow_heif import register_heif_opener

from tests.inference.renderings import TURNS

register_heif_opener()


def heic(path, image):
    image.convert("RGB").save(path, "HEIF")


def heic_bytes(image):
    stream = io.BytesIO()
    heic(stream, image)
    return stream.getvalue()


def turned_heic(path, image, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.transpose(TURNS[orientation]).convert("RGB").save(path, "HEIF", exif=exif.tobytes())


def cut_heic(path, image):
    heic(path, image)
    path.write_bytes(path.read_bytes()[:200])


def heic_that_claims(path, image, width, height):
    """With another size in the box that has it, before anything is decoded."""
    heic(path, image)
    content = path.read_bytes()
    size = content.index(b"ispe") + 8  # after the box's name and version
    path.write_bytes(content[:size] + struct.pack(">II", width, height) + content[size + 8 :])


def mpo(path, image):
    image.save(path, "MPO", save_all=True, append_images=[Image.new("L", (50, 50))])
