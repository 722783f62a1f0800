"""Settings that a run recorded, taken as data: none of them can name code of others.

A config is code only when the user passes it with --config. What is found beside a checkpoint or inside one may come
from a stranger.
"""

import os
import re
from pathlib import Path
from typing import Any

import yaml

from lenet_lightning.errors import RunError, UsageError, one_line, pasted
from lenet_lightning.metadata import NETWORKS

MOST_BYTES = 100_000
MOST_DEPTH = 20

# one name below these, so that nothing but them is imported; no logger that talks to an address of the file's choosing
TRUSTED = re.compile(
    r"torch\.optim\.(lr_scheduler\.)?\w+|lightning\.pytorch\.cli\.ReduceLROnPlateau"
    r"|lenet_lightning\.[A-Z]\w+|lenet_lightning\.(training|historical)(\.\w+)+"
    r"|lightning\.pytorch\.(callbacks|profilers|strategies)\.\w+"
    r"|lightning\.pytorch\.loggers\.(CSVLogger|TensorBoardLogger)"
)
# jsonargparse imports what a dotted string names wherever a class or a function may be given
PLAIN_TEXT = re.compile(r"(?!/)[\w/:, +-]*")
PLACE = re.compile(r"dir|path|file|root")
# typed as text, and no place to write to; a run that is resumed reads no file of weights
FREE_TEXT = ("data.root", "data.mirrors", "model.weights")
FREE_TEXT_OF_OURS = ("project", "name", "notes", "entity", "group", "job_type", "tags")

# what a run's recipe says of the samples that count
OF_DATA = ("data.val_size", "data.split_seed", "data.name")

# set by the command line for each run
DROPPED = ("config", "ckpt_path", "default_root_dir", "save_dir")


def settings(path: Path) -> dict[str, Any]:
    """Return the settings of a run's config.yaml, to be validated by the parser like any other.

    Raises:
        RunError: the file is damaged.
        UsageError: it names code outside of this package, torch.optim and Lightning, or a place to write to.
    """
    tree = read(path)
    for section in ("trainer", "model", "data"):
        if not isinstance(tree.get(section, {}), dict):
            got = one_line(tree[section], 60)
            raise RunError(f"{path}: {section} must be a mapping, got {got!r}; pass another one with --config")
    if isinstance(distortion := tree.get("data", {}).get("distortion"), dict):
        distortion.setdefault("end", 1.0)  # what versions did that did not know it
    return {name: _plain(value, name, path) for name, value in tree.items() if name not in DROPPED}


def data_root(path: Path) -> dict[str, Any]:
    """Return the data folder that a run's config.yaml names, as a setting of the data; none if it names none."""
    try:
        data = read(path).get("data")
    except (OSError, RunError):
        return {}
    root = data.get("root") if isinstance(data, dict) else None
    return {"root": root} if isinstance(root, str) else {}


def evaluation(checkpoint: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return the settings that a checkpoint is validated and tested with: of the network, its loss and its data.

    Args:
        checkpoint: of the run.
        path: of the run's config.yaml, to be named.

    Raises:
        UsageError: the network is one of the user's own, whose code only a config that is passed may name.
    """
    kept = {
        "model": (checkpoint.get("hyper_parameters"), ("network", "loss", "label_smoothing")),
        "data": (checkpoint.get("datamodule_hyper_parameters"), ("mean", "std")),
    }
    found: dict[str, dict[str, Any]] = {section: _scalars(values, names) for section, (values, names) in kept.items()}
    if (network := found["model"].get("network", "lenet5")) not in NETWORKS:
        raise UsageError(
            f"model.network must be one of {', '.join(NETWORKS)} where no config is passed, this checkpoint's is "
            f"{one_line(network, 60)}; pass its settings: --config {pasted(path)}"
        )
    recipe = checkpoint.get("recipe")
    found["data"] |= {name[5:]: value for name, value in _scalars(recipe, OF_DATA).items()}
    if isinstance(recipe, dict) and (sums := recipe.get("data.sums")) and "name" in found["data"]:
        found["data"]["sums"] = [one_line(each, 64) for each in sums] if isinstance(sums, list) else None
    return found


def _scalars(values: Any, names: tuple[str, ...]) -> dict[str, Any]:
    values = values if isinstance(values, dict) else {}
    return {name: values[name] for name in names if isinstance(values.get(name), str | int | float)}


def read(path: Path) -> dict[str, Any]:
    """Return what a run's config.yaml holds, as plain values that nothing has checked.

    Raises:
        RunError: the file is damaged.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MOST_BYTES + 1)
        if len(text) > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES:,} bytes")
        depth = 0
        for event in yaml.parse(text, yaml.SafeLoader):
            # a few lines of aliases stand for billions of values, and nesting takes time by its square
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent) or depth > MOST_DEPTH:
                raise ValueError("it has aliases or is nested too deeply")
        tree = yaml.safe_load(text)
        if not isinstance(tree, dict):
            raise ValueError("it holds no settings")
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise RunError(
            f"{path}: must be the config of a run, is damaged: {one_line(error)}; pass another one with --config"
        ) from error
    return tree


def _plain(value: Any, name: str, path: Path) -> Any:
    """Return `value` without what the command line sets, once nothing in it can name code or a place.

    Raises:
        UsageError: something in it can.
    """
    if isinstance(value, dict):
        if "class_path" in value:
            return _object(value, name, path)
        return {each: _plain(inner, f"{name}.{each}", path) for each, inner in value.items() if each not in DROPPED}
    if isinstance(value, list):
        return [_plain(each, name, path) for each in value]
    if isinstance(value, str) and name not in FREE_TEXT:
        # a string may also be the path of a file with more settings
        if not PLAIN_TEXT.fullmatch(value) or PLACE.search(name.rsplit(".", 1)[-1]) or os.path.isfile(value):
            raise _untrusted(path, name, value)
    elif value is not None and not isinstance(value, str | bool | int | float):
        raise _untrusted(path, name, value)
    return value


def _object(value: dict[str, Any], name: str, path: Path) -> dict[str, Any]:
    class_path = str(value["class_path"])
    if not TRUSTED.fullmatch(class_path) or value.keys() - {"class_path", "init_args", "dict_kwargs"}:
        raise _untrusted(path, name, class_path)
    ours = class_path.startswith("lenet_lightning.")
    checked: dict[str, Any] = {"class_path": class_path}
    for kind in value.keys() - {"class_path"}:
        checked[kind] = {}
        for each, inner in dict(value[kind] or {}).items():
            field = f"{name}.{each}"
            several = inner if isinstance(inner, list) else [inner]
            if any(isinstance(one, dict | list) for one in several):
                raise _untrusted(path, field, inner)
            if ours and isinstance(inner, str) and each not in (*FREE_TEXT_OF_OURS, *DROPPED):
                raise _untrusted(path, field, inner)
            if each not in DROPPED:
                checked[kind][each] = inner if ours else _plain(inner, field, path)
    return checked


def _untrusted(path: Path, name: str, value: Any) -> UsageError:
    return UsageError(
        f"{path}: {one_line(name, 80)} is {one_line(value, 80)!r}: only plain settings, torch.optim and Lightning's "
        f"classes are taken from a file that was not passed; if you trust it: --config {pasted(path)}"
    )
