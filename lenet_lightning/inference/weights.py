"""Weights files: safetensors of ours, read and written; .ckpt of `fit` and .pth of the tutorial, read."""

import json
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lenet_lightning.atomic import replacing
from lenet_lightning.data import files as source
from lenet_lightning.errors import RunError, UsageError
from lenet_lightning.networks import NETWORKS

METADATA_KEY = "lenet_lightning"
SUFFIXES = (".safetensors", ".ckpt", ".pth", ".pt")

# of the default run: whoever has trained nothing yet can still read digits
SHIPPED = Path(__file__).with_name("lenet5.safetensors")

# pixel values that each network is trained on: a bare state_dict does not say
NORMALISATION = {
    "lenet5": (source.MEAN, source.STD),
    "lenet5_1998": (source.PAPER_MEAN, source.PAPER_STD),
    "lenet1": (source.PAPER_MEAN, source.PAPER_STD),
}

# the tutorial writes its network in three forms: what each calls the layers that LeNet5 calls by the first one's names
FORMS = {
    form: dict(zip(("conv1", "conv2", "linear1", "linear2", "linear3"), names, strict=True))
    for form, names in {
        "v1": ("conv1", "conv2", "linear1", "linear2", "linear3"),
        "v2": ("model.0", "model.3", "model.7", "model.9", "model.11"),
        "v3": ("conv_pool1.0", "conv_pool2.0", "fc1.0", "fc2.0", "out.0"),
    }.items()
}


def facts_of(network: str, mean: float, std: float) -> dict[str, Any]:
    """Give what is true of any weights of a network (by its name in NETWORKS) trained on pixels normalised so."""
    return {
        "network": network,
        "parameters": sum(p.numel() for p in NETWORKS[network]().parameters()),
        "classes": [str(digit) for digit in range(10)],
        "mean": mean,
        "std": std,
    }


def pack(state_dict: dict[str, Tensor], facts: dict[str, Any]) -> bytes:
    """Give the safetensors file of a network's state_dict and facts about it (plain JSON values).

    Equal weights are equal files as long as no time or path is among the facts.
    """
    return save(state_dict, {METADATA_KEY: json.dumps(facts, sort_keys=True)})


def write(state_dict: dict[str, Tensor], facts: dict[str, Any], path: Path) -> None:
    """Write what `pack` gives.

    Raises:
        OSError: the folder cannot be written to, or is full; an older file is intact.
    """
    with replacing(path) as partial:
        # safetensors' own writing to a file raises something other than OSError when the disk is full
        partial.write_bytes(pack(state_dict, facts))


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Give the state_dict, in the network's own names, and the facts of a .safetensors, .ckpt, .pth or .pt file.

    Nothing in the file is run. Of a checkpoint, the weight average is taken where there is one. A .pth or .pt says
    which network it is of by the names in it.

    Raises:
        UsageError: there is no such file, or its name ends otherwise.
        RunError: it is damaged, not one of these, has weights that are not finite, or does not fit its network.
    """
    if path.suffix not in SUFFIXES:
        raise UsageError(f"{path}: a weights file must end with {', '.join(SUFFIXES)} or .onnx")
    if not path.is_file():
        raise UsageError(f"{path}: no such weights file; `fit` writes weights.safetensors into its run folder")
    state_dict, facts = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickled(path)
    network = NETWORKS[facts["network"]]()
    if fault := _misfit(network, state_dict):
        raise RunError(f"{path}: does not fit {type(network).__name__}: {fault}")
    if broken := [name for name, values in state_dict.items() if not values.isfinite().all()]:
        raise RunError(f"{path}: has weights that are not finite in {', '.join(broken)}; train again")
    return state_dict, facts


def load(path: Path) -> tuple[torch.nn.Module, dict[str, Any]]:
    """Give the network with the weights of a file that `read` takes, for evaluation, and the facts.

    Raises:
        UsageError, RunError: as `read` does.
    """
    state_dict, facts = read(path)
    network = NETWORKS[facts["network"]]()
    network.load_state_dict(state_dict)
    return network.eval().requires_grad_(False), facts


def unpickle(path: Path) -> Any:
    """Read a file that torch.save wrote, without running anything in it.

    Raises:
        RunError: it is damaged, or holds something other than tensors and plain values.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        # torch's own text advises to switch the check off
        reason = "it holds something other than tensors and plain values, or is damaged; save state_dict() alone"
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, AttributeError, TypeError, IndexError) as error:
        reason = f"it is damaged ({str(error).splitlines()[0]})" if str(error) else "it is damaged"
    raise RunError(f"{path}: cannot be loaded: {reason}")


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, "pt") as file:
            facts = dict(json.loads(file.metadata()[METADATA_KEY]))
            name = facts.get("network", "lenet5")
            if name not in NETWORKS:
                raise ValueError(f"it is of {name}, known are {', '.join(NETWORKS)}")
            facts = facts_of(name, *NORMALISATION[name]) | facts
            return {name: file.get_tensor(name) for name in file.keys()}, facts  # noqa: SIM118
    except (SafetensorError, TypeError, KeyError, ValueError, OSError) as error:
        raise RunError(
            f"{path}: must be a weights file written by `fit` or `export`, is damaged or something else: {error}"
        ) from error


def _read_pickled(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    saved = unpickle(path)
    if isinstance(saved, dict) and isinstance(saved.get("state_dict"), dict):
        return _of_checkpoint(path, saved)
    if not isinstance(saved, dict) or not all(isinstance(value, Tensor) for value in saved.values()):
        raise RunError(f"{path}: must hold a state_dict, got a {type(saved).__name__} that is none")
    name = next((name for name, network in NETWORKS.items() if network().state_dict().keys() == saved.keys()), "lenet5")
    facts = facts_of(name, *NORMALISATION[name])
    for form in FORMS.values():
        ours = {f"{theirs}.{kind}": f"{name}.{kind}" for name, theirs in form.items() for kind in ("weight", "bias")}
        if saved.keys() == ours.keys():
            return {ours[name]: values for name, values in saved.items()}, facts
    return saved, facts


def _of_checkpoint(path: Path, checkpoint: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        network, pixels = (dict(checkpoint.get(key, {})) for key in ("hyper_parameters", "datamodule_hyper_parameters"))
        # before there were three networks a checkpoint said neither
        name = network.get("network", "lenet5")
        facts = facts_of(name, float(pixels.get("mean", source.MEAN)), float(pixels.get("std", source.STD)))
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"{path}: must be of a network that this version knows, {', '.join(NETWORKS)}: {error}"
        ) from error
    state_dict = checkpoint["state_dict"]
    return _below("averaged.module.", state_dict) or _below("network.", state_dict), facts


def _below(prefix: str, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): values for name, values in state_dict.items() if name.startswith(prefix)}


def _misfit(network: torch.nn.Module, state_dict: dict[str, Tensor]) -> str:
    expected = network.state_dict()
    faults = [f"{name} is missing" for name in expected if name not in state_dict]
    faults += [f"{name} is no layer of it" for name in state_dict if name not in expected]
    for name, values in expected.items():
        if name in state_dict and state_dict[name].shape != values.shape:
            faults.append(f"{name} must be {tuple(values.shape)}, got {tuple(state_dict[name].shape)}")
    return "; ".join(faults)
