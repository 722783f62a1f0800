"""Which files in a folder are pictures, by their names; what else is there is told, so that nothing is missed."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from lenet_lightning.errors import printable
from lenet_lightning.inference import formats


def pictures(path: Path) -> list[str]:
    """Return the paths of the pictures in a folder, in order; print how many other files and folders it has, and which.

    Raises:
        OSError: it cannot be read.
    """
    return _chosen(path, lambda each: each.suffix.lower() in formats.SUFFIXES and not os.path.isdir(each))


def by_digit(path: Path) -> list[str]:
    """Return the paths of the folders in a folder that are named by a number; print the others likewise.

    Raises:
        OSError: it cannot be read.
    """
    return _chosen(path, lambda each: each.name.isdecimal() and each.name.isascii() and os.path.isdir(each))


def _chosen(path: Path, wanted: Callable[[Path], bool]) -> list[str]:
    inside = sorted(path.iterdir())
    chosen = [each for each in inside if wanted(each)]
    if chosen and len(chosen) < len(inside):
        others = set(inside).difference(chosen)
        names = ", ".join(printable(f"{each.name}/" if os.path.isdir(each) else each.name) for each in sorted(others))
        print(f"{printable(path)}: skipped {len(others):,}: {names}", file=sys.stderr)
    return [str(each) for each in chosen]
