"""The formats of picture files: which are read, by which names, and what else a file is."""

from lenet_lightning.errors import UsageError

# no others: Pillow runs a program to read PostScript
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF")
LISTED = ", ".join(FORMATS)
SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".gif", ".bmp", ".webp", ".tif", ".tiff"),
    *(".heic", ".heif", ".hif"),
)

# of the box that such a file begins with
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")


def readable(head: bytes) -> tuple[str, ...]:
    """Return Pillow's names of the formats that may be read from a file that begins with `head`, 12 bytes or more.

    Raises:
        UsageError: it is a PDF, or HEIC and pillow-heif is not installed; the message goes behind the file's name.
    """
    if head.lstrip().startswith(b"%PDF-"):
        raise UsageError(f"must be a picture ({LISTED}), is a PDF; save its page as a PNG")
    if head[4:8] != b"ftyp" or head[8:12] not in _HEIC_BRANDS:
        return FORMATS
    try:
        from pillow_heif import register_heif_opener
    except ModuleNotFoundError as error:
        raise UsageError(
            f"must be a picture ({LISTED}), is HEIC, which needs pillow-heif: "
            "pip install 'lenet_lightning[heic]', or save it as a JPEG"
        ) from error
    # what is beside the picture would take memory, and another core's threads
    register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)
    return (*FORMATS, "HEIF")
