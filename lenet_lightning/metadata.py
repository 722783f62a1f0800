"""Check the size and the metadata of weights files of every format. Imports no torch."""

import json
from pathlib import Path
from typing import Any

from lenet_lightning.errors import RunError, one_line, printable

MOST_BYTES = 100_000_000  # of a file; ours have 250 kB, a checkpoint 1 MB
MOST_METADATA = 100_000  # characters; ours have 300

METADATA_KEY = "lenet_lightning"

NETWORKS = ("lenet5", "lenet5_1998", "lenet1")  # networks.NETWORKS has the classes, but needs torch
DIGITS = [str(digit) for digit in range(10)]


def _between(lowest: float, highest: float, *kinds: type) -> Any:
    # a bool is not a number here, and NaN fails every comparison
    return lambda value: type(value) in kinds and lowest <= value <= highest


# of each known field: whether a value is valid, and the rule in words
FIELDS = {
    "network": (lambda value: type(value) is str and value in NETWORKS, f"one of {', '.join(NETWORKS)}"),
    "parameters": (_between(1, 2**31, int), "a whole number from 1 to 2^31"),
    "classes": (lambda value: value == DIGITS, "the ten digits as strings"),
    "mean": (_between(-1e6, 1e6, int, float), "a number from -1e6 to 1e6"),
    "std": (_between(1e-6, 1e6, int, float), "a number from 1e-6 to 1e6"),
    "seed": (_between(0, 2**64, int), "a whole number from 0 to 2^64"),
    "test/acc": (_between(0, 1, int, float), "a number from 0 to 1"),
    "temperature": (_between(0.1, 10, int, float), "a number from 0.1 to 10"),
    "test/loss": (_between(-1e300, 1e300, int, float), "a finite number"),
}


def check_size(path: Path) -> int:
    """Return the size of a file in bytes.

    Raises:
        RunError: it is more than MOST_BYTES.
    """
    found = path.stat().st_size
    if found > MOST_BYTES:
        raise RunError(
            f"{printable(path)}: must have at most {MOST_BYTES:,} bytes, has {found:,}; a LeNet's weights have 250,000"
        )
    return found


def parse_metadata(path: Path, text: str) -> dict[str, Any]:
    """Return the known fields of a file's metadata, which is JSON text.

    Raises:
        RunError: it is not a JSON object, is too long or too deep, or a field is invalid.
    """
    return check_metadata(path, parse_object(path, text))


def parse_object(path: Path, text: str) -> dict[str, Any]:
    """Return all fields of a file's metadata, which is JSON text, unchecked.

    Raises:
        RunError: it is not a JSON object, or is too long or too deep.
    """
    try:
        if len(text) > MOST_METADATA:
            raise ValueError(f"it has more than {MOST_METADATA:,} characters")
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RunError(
            f"{printable(path)}: its metadata must be JSON, is damaged or something else: {one_line(error)}"
        ) from error
    if not isinstance(found, dict):
        raise RunError(f"{printable(path)}: its metadata must be a JSON object, is a {type(found).__name__}")
    return found


def check_metadata(path: Path, fields: dict[Any, Any]) -> dict[str, Any]:
    """Return the known ones of `fields`; the others are ignored.

    Raises:
        RunError: a field is of the wrong type or out of range.
    """
    known = {name: fields[name] for name in FIELDS if name in fields}
    for name, value in known.items():
        is_valid, rule = FIELDS[name]
        if not is_valid(value):
            plain = isinstance(value, str | int | float | None)
            got = one_line(repr(value), 60) if plain else f"a {type(value).__name__}"
            raise RunError(f"{printable(path)}: {name} must be {rule}, is {got}; use weights that are intact")
    return known
