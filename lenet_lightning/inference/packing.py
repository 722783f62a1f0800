"""Pack what is found in a picture as plain values, for the pipe between two processes."""

from typing import Any

import numpy as np

from lenet_lightning.inference.lines import Found
from lenet_lightning.inference.picture import Framed, FramedRows
from lenet_lightning.inference.strips import Line, Part

Result = Framed | FramedRows | str  # what is in a picture, or why it cannot be read


def packed(result: Result) -> Any:
    """Return the result as what JSON can hold."""
    if isinstance(result, str):
        return result
    if isinstance(result, Framed):
        return [None if result.pixels is None else _text(result.pixels), result.notice]
    found = [
        {
            **vars(each),
            "lines": [vars(line) | {"strip": _text(line.strip), "parts": _parts(line)} for line in each.lines],
        }
        for each in result.found
    ]
    return vars(result) | {"found": found}


def unpacked(values: Any) -> Result:
    """Return the result that was packed."""
    if isinstance(values, str):
        return values
    if isinstance(values, list):
        pixels, notice = values
        return Framed(None if pixels is None else _image(pixels), notice)
    return FramedRows(**values | {"found": tuple(map(_found, values["found"]))})


def _parts(line: Line) -> list[dict[str, Any]]:
    return [vars(part) | {"image": _text(part.image)} for part in line.parts]


def _found(values: dict[str, Any]) -> Found:
    return Found(**values | {"lines": tuple(map(_line, values["lines"])), "size": tuple(values["size"])})


def _line(values: dict[str, Any]) -> Line:
    parts = tuple(
        Part(**part | {"image": _image(part["image"]), "box": tuple(part["box"]), "columns": tuple(part["columns"])})
        for part in values["parts"]
    )
    return Line(**values | {"strip": _image(values["strip"]), "parts": parts})


def _text(image: np.ndarray) -> str:
    """Return an image, (28, width), uint8, as text."""
    return image.tobytes().hex()


def _image(text: str) -> np.ndarray:
    return np.frombuffer(bytearray.fromhex(text), np.uint8).reshape(28, -1)
