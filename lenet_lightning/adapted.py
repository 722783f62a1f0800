"""Make the state_dicts of others ours: where a file keeps them, and what it calls the layers."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lenet_lightning.networks import NETWORKS
from lenet_lightning.networks.lenet5 import LeNet5

# under which files keep a state_dict beside an epoch, an optimizer, ...
KEYS = ("state_dict", "model_state_dict", "model", "net")

# that wrappers put before each name: DataParallel, torch.compile, a class around the network
PREFIXES = ("module.", "_orig_mod.", "model.", "network.")

_LAYERS = ("conv1", "conv2", "linear1", "linear2", "linear3")

# the tutorial writes its network in three forms: each one's names of the layers; LeNet5 has those of the first
FORMS = {
    form: dict(zip(_LAYERS, names, strict=True))
    for form, names in {
        "v1": _LAYERS,
        "v2": ("model.0", "model.3", "model.7", "model.9", "model.11"),
        "v3": ("conv_pool1.0", "conv_pool2.0", "fc1.0", "fc2.0", "out.0"),
    }.items()
}


def is_state_dict(saved: Any) -> bool:
    """Return whether `saved` is a dict of names and tensors."""
    return isinstance(saved, dict) and all(
        isinstance(name, str) and isinstance(values, Tensor) for name, values in saved.items()
    )


def adapt(saved: dict[str, Any]) -> tuple[dict[str, Any], str, str]:
    """Return the state_dict in a network's own names, the network's name in NETWORKS, and what was adapted.

    Names do not matter where the shapes are those of LeNet-5, no two of which are the same; C5 may be a convolution.
    What fits no network is returned as it is, for "lenet5".

    Args:
        saved: a state_dict, or a dict that has one under one of KEYS.
    """
    done = []
    for key in KEYS:
        if saved and not is_state_dict(saved) and is_state_dict(saved.get(key)):
            saved = saved[key]
            done.append(f"its {key!r} taken")
    if not is_state_dict(saved):
        return saved, "lenet5", ""
    while True:
        if fitting := _by_name(saved):
            return *fitting, "; ".join(done)
        prefix = next((each for each in PREFIXES if saved and all(name.startswith(each) for name in saved)), "")
        if not prefix:
            break
        saved = {name.removeprefix(prefix): values for name, values in saved.items()}
        done.append(f"{prefix} dropped")
    if layers := _by_shape(saved):
        renamed = [f"{theirs} as {ours}" for ours, theirs in layers.items() if ours != theirs]
        if renamed:
            done.append(", ".join(renamed))
        c5 = saved[f"{layers['linear1']}.weight"]
        if c5.ndim == 4:
            done.append("C5 from a convolution")
        named = {
            f"{ours}.{kind}": saved[f"{theirs}.{kind}"]
            for ours, theirs in layers.items()
            for kind in ("weight", "bias")
        }
        return named | {"linear1.weight": c5.flatten(1)}, "lenet5", "; ".join(done)
    return saved, "lenet5", "; ".join(done)


def _by_name(saved: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str] | None:
    """Return the state_dict and its network's name, if the names and shapes are a network's or one of the forms'."""
    for name, network in NETWORKS.items():
        expected = network().state_dict()
        if saved.keys() == expected.keys() and all(saved[each].shape == expected[each].shape for each in expected):
            return dict(saved), name
    for form in FORMS.values():
        ours = {f"{theirs}.{kind}": f"{name}.{kind}" for name, theirs in form.items() for kind in ("weight", "bias")}
        # else C5 may be a convolution
        if saved.keys() == ours.keys() and saved[f"{form['linear1']}.weight"].ndim == 2:
            return {ours[name]: values for name, values in saved.items()}, "lenet5"
    return None


def _by_shape(saved: Mapping[str, Tensor]) -> dict[str, str] | None:
    """Return their name of each layer by ours, if the shapes are those of LeNet-5 and each weight has its bias."""
    expected = {tuple(values.shape): name for name, values in LeNet5().state_dict().items()}
    expected[120, 16, 5, 5] = "linear1.weight"
    layers: dict[str, str] = {}
    for theirs, values in saved.items():
        layer, _, kind = expected.get(tuple(values.shape), "").rpartition(".")
        base, _, end = theirs.rpartition(".")
        if not layer or end != kind or layers.setdefault(layer, base) != base:
            return None
    # as many tensors as LeNet-5 has, in ten different places
    return {layer: layers[layer] for layer in _LAYERS} if len(saved) == 10 and len(layers) == 5 else None
