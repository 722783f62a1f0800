"""Read and write weights files: .safetensors of this project; `fit`'s .ckpt and files of others are only read."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lenet_lightning.adapted import adapt, is_state_dict
from lenet_lightning.atomic import replacing
from lenet_lightning.errors import RunError, UsageError, one_line, printable
from lenet_lightning.metadata import DIGITS, METADATA_KEY, check_metadata, check_size, parse_metadata
from lenet_lightning.networks import NETWORKS, LeNet
from lenet_lightning.pickled import unpickle

SUFFIXES = (".safetensors", ".ckpt", ".pth", ".pt")

# of the default run, so that digits can be predicted before anything is trained
SHIPPED = Path(__file__).with_name("lenet5.safetensors")

# bytes of a .safetensors file's header; ours have 1,000
MOST_HEADER = 1_000_000

# before the names in a checkpoint of `fit`: of the weight average, if there is one, and of the network
_OURS = ("averaged.module.", "network.")

# types that are converted to float32: torch's, and safetensors' names for them
FLOATS = {
    torch.float32: "F32",
    torch.float64: "F64",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
}


class MisfitError(RunError):
    """A file is whole, but its tensors are not those of a network."""


def metadata_of(network: str, mean: float | None = None, std: float | None = None) -> dict[str, Any]:
    """Return the metadata that all weights of a network share.

    Args:
        network: its name in NETWORKS.
        mean: of the pixels it is trained on, by which they are normalised; the network's own by default.
        std: likewise.
    """
    kind = NETWORKS[network]
    return {
        "network": network,
        "parameters": sum(p.numel() for p in kind().parameters()),
        "classes": list(DIGITS),
        "mean": kind.MEAN if mean is None else mean,
        "std": kind.STD if std is None else std,
    }


def pack(state_dict: dict[str, Tensor], metadata: dict[str, Any]) -> bytes:
    """Return the bytes of a .safetensors file with a network's state_dict and metadata (plain JSON values).

    Equal arguments give equal bytes.
    """
    return save(state_dict, {METADATA_KEY: json.dumps(metadata, sort_keys=True)})


def write(state_dict: dict[str, Tensor], metadata: dict[str, Any], path: Path) -> None:
    """Write a .safetensors file with a network's state_dict and metadata, see `pack`.

    Raises:
        OSError: the folder cannot be written to, or is full; an older file stays as it was.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from lenet_lightning import LeNet5
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "lenet5.safetensors")
        ...     write(LeNet5().state_dict(), metadata_of("lenet5"), path)
        ...     state_dict, metadata = read(path)
        >>> metadata["network"], metadata["parameters"], tuple(state_dict["conv1.weight"].shape)
        ('lenet5', 61706, (6, 1, 5, 5))
    """
    with replacing(path) as partial:
        # safetensors' own function raises something other than OSError when the disk is full
        partial.write_bytes(pack(state_dict, metadata))


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the state_dict, in the network's own names, and the metadata of a .safetensors, .ckpt, .pth or .pt file.

    No code in the file is run. Of a checkpoint, the weight average is returned where there is one. The network of
    others' files, which do not say which it is, is recognised by names and shapes; their metadata has `adapted`, what
    was changed to make them ours, or "" if nothing was.

    Raises:
        UsageError: the file does not exist or has another suffix.
        RunError: it is damaged, of another format, has weights that are not finite, or (MisfitError) does not fit its
            network.
    """
    shown = printable(path)
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{shown}: a weights file must end with {', '.join(SUFFIXES)} or .onnx")
    if not path.is_file():
        raise UsageError(f"{shown}: no such weights file; `fit` writes weights.safetensors into its run folder")
    state_dict, metadata = (_read_safetensors if path.suffix.lower() == ".safetensors" else _read_pickled)(path)
    # a float64 may be too large for float32
    state_dict = {name: values.detach().to(torch.float32) for name, values in state_dict.items()}
    if broken := [name for name, values in state_dict.items() if not values.isfinite().all()]:
        raise RunError(f"{shown}: has weights that are not finite in {', '.join(broken)}; train again")
    return state_dict, metadata


def start(network: torch.nn.Module, path: Path) -> None:
    """Copy the weights of a file that `read` accepts into a network, to train it from there.

    Raises:
        UsageError: as `read`, or the weights are of another network.
        RunError: as `read`.
    """
    try:
        state_dict, metadata = read(path)
    except MisfitError as error:
        raise UsageError(str(error)) from error
    if not isinstance(network, NETWORKS[metadata["network"]]):
        of = NETWORKS[metadata["network"]].__name__
        raise UsageError(f"{printable(path)}: must have weights of {type(network).__name__}, has those of {of}")
    network.load_state_dict(state_dict)


def load(path: Path) -> tuple[LeNet, dict[str, Any]]:
    """Return the network, in evaluation mode and without gradients, and the metadata of a file that `read` accepts.

    Raises:
        UsageError, RunError: as `read`.
    """
    state_dict, metadata = read(path)
    network = NETWORKS[metadata["network"]]()
    network.load_state_dict(state_dict)
    return network.eval().requires_grad_(False), metadata


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        size = check_size(path)
        with path.open("rb") as file:
            (header,) = struct.unpack("<Q", file.read(8))
        if not 0 < header <= min(size - 8, MOST_HEADER):
            raise ValueError(f"its header claims {header:,} bytes")
        with safe_open(path, "pt") as file:
            slices = {each: file.get_slice(each) for each in file.keys()}  # noqa: SIM118 - not a dict
            text = (file.metadata() or {}).get(METADATA_KEY)
            if text is None:
                return _of_others(path, {each: file.get_tensor(each) for each in slices})
            metadata = parse_metadata(path, text)
            name = metadata.get("network", "lenet5")
            _check_fit(path, name, {each: (tuple(part.get_shape()), part.get_dtype()) for each, part in slices.items()})
            return {each: file.get_tensor(each) for each in slices}, metadata_of(name) | metadata
    except (SafetensorError, ValueError, OSError, struct.error) as error:
        raise RunError(
            f"{printable(path)}: must be a .safetensors file, is damaged or something else: {one_line(error, 100)}"
        ) from error


def _read_pickled(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    saved = unpickle(path)
    if isinstance(saved, dict) and _is_of_fit(saved):
        state_dict, metadata = _of_checkpoint(path, saved)
        if state_dict:
            _check_fit(path, metadata["network"], _kinds(state_dict))
            return state_dict, metadata
    if not isinstance(saved, dict):
        raise RunError(f"{printable(path)}: must hold a state_dict, got a {type(saved).__name__}")
    return _of_others(path, saved)


def _is_of_fit(saved: dict[str, Any]) -> bool:
    """Return whether it is a checkpoint of `fit`: of others, one may keep its network under the same name.

    But it does not say how pixels are normalised, and has no average of ours.
    """
    if not is_state_dict(saved.get("state_dict")):
        return False
    return "datamodule_hyper_parameters" in saved or bool(_below(_OURS[0], saved["state_dict"]))


def _of_others(path: Path, saved: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    state_dict, name, adapted = adapt(saved)
    if not is_state_dict(state_dict):
        raise RunError(f"{printable(path)}: must hold a state_dict, got a {type(saved).__name__} of something else")
    _check_fit(path, name, _kinds(state_dict))
    return state_dict, metadata_of(name) | {"adapted": adapted}


def _kinds(state_dict: dict[str, Tensor]) -> dict[str, tuple[tuple[int, ...], object]]:
    return {name: (tuple(values.shape), FLOATS.get(values.dtype, values.dtype)) for name, values in state_dict.items()}


def _of_checkpoint(path: Path, checkpoint: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    network, pixels = (checkpoint.get(key, {}) for key in ("hyper_parameters", "datamodule_hyper_parameters"))
    if not isinstance(network, dict) or not isinstance(pixels, dict):
        raise RunError(f"{printable(path)}: hyper_parameters must be names and values; pass a checkpoint of `fit`")
    # checkpoints of earlier versions, with one network, do not name it
    fields = {"network": network.get("network", "lenet5")}
    fields |= {name: pixels[name] for name in ("mean", "std") if name in pixels}
    found = (_below(each, checkpoint["state_dict"]) for each in _OURS)
    return next(filter(None, found), {}), metadata_of(**check_metadata(path, fields))


def _below(prefix: str, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): values for name, values in state_dict.items() if name.startswith(prefix)}


def _check_fit(path: Path, name: str, found: Mapping[str, tuple[tuple[int, ...], object]]) -> None:
    """Check names, shapes and types (safetensors' names of them) against a network's.

    Raises:
        MisfitError: a tensor is missing, unknown, of another shape, or not of a real float type.
    """
    network = NETWORKS[name]()
    expected = {name: tuple(values.shape) for name, values in network.state_dict().items()}
    faults = _first_of([f"{name} is missing" for name in expected if name not in found])
    faults += _first_of([f"{one_line(name, 60)} is not a layer of it" for name in found if name not in expected])
    both = {name: found[name] for name in expected if name in found}
    faults += _first_of(
        [
            f"{name} must be {expected[name]}, got {one_line(shape, 60)}"
            for name, (shape, _) in both.items()
            if shape != expected[name]
        ]
    )
    faults += _first_of(
        [
            f"{name} must be one of {', '.join(FLOATS.values())}, got {kind}"
            for name, (_, kind) in both.items()
            if kind not in FLOATS.values()
        ]
    )
    if faults:
        holds = one_line(", ".join(f"{name} {shape}" for name, (shape, _) in found.items()), 90) or "nothing"
        fit = f"does not fit {type(network).__name__}"
        raise MisfitError(f"{printable(path)}: {fit}: {'; '.join(faults)}; it holds {holds}")


def _first_of(faults: list[str]) -> list[str]:
    return [faults[0] + (f", and {len(faults) - 1:,} more" if faults[1:] else "")] if faults else []
