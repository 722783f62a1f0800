"""The weights file of a trained network: safetensors, with what one needs to use it."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lenet_lightning.atomic import replacing
from lenet_lightning.errors import RunError, UsageError

METADATA_KEY = "lenet_lightning"


def write(state_dict: dict[str, Tensor], facts: dict[str, Any], path: Path) -> None:
    """Write a network's state_dict and facts about it (plain JSON values, no time or path: equal weights, equal files).

    Raises:
        OSError: the folder cannot be written to, or is full; an older file is intact.
    """
    with replacing(path) as partial:
        save_file(state_dict, partial, {METADATA_KEY: json.dumps(facts, sort_keys=True)})


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Give the state_dict and the facts that `write` wrote.

    Raises:
        UsageError: there is no such file.
        RunError: it is damaged, or not a file of this project.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such weights file; `fit` writes one into its run folder")
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()[METADATA_KEY])  # noqa: SIM118
    except (SafetensorError, TypeError, KeyError, ValueError, OSError) as error:
        raise RunError(
            f"{path}: must be a weights file written by `fit`, is damaged or something else: {error}"
        ) from error
