"""Frame what is in a picture without being told whether it is one digit or a row, as the page does."""

from lenet_lightning.inference import picture


def frame(content: bytes, invert: str = "auto") -> list[picture.Framed]:
    """Return the one digit in a picture, or each digit of a row, left to right; one blank for a blank picture.

    Args:
        content: of a picture file.
        invert: as for `picture.frame`, whose errors these are.
    """
    one = picture.frame(content, invert)
    # where nothing is noticed there is one digit; looking for others would take as long again
    if one.notice is None or one.pixels is None:
        return [one]
    row = picture.frame_line(content, invert)
    return row if len(row) > 1 else [one]
