"""The command `export`: write the trained network to a file for use elsewhere, once it is checked."""

import io
from collections import OrderedDict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lenet_lightning import weights
from lenet_lightning.adapted import FORMS
from lenet_lightning.arguments import Parser
from lenet_lightning.atomic import replacing
from lenet_lightning.data import files
from lenet_lightning.errors import RunError, UsageError, remedy
from lenet_lightning.inference import export_rows
from lenet_lightning.inference.onnx_program import serialised
from lenet_lightning.inference.recognizer import Recognizer

# how much a logit may differ. float32 has seven digits: after 20 epochs of Adam logits reach 51, and those of torch and
# ONNX Runtime, both right, differ by 1.9e-5
TOLERANCE = 1e-5
RELATIVE_TOLERANCE = 1e-6  # of the largest logit


def main(args: list[str]) -> int:
    """Write the trained network to a file, which is put in place once its logits are found equal to the network's.

    Raises:
        UsageError: an option is invalid, refers to a missing file, or needs a package that is not installed.
        RunError: the weights are damaged, the file cannot be written, or its logits differ; an older file stays as it
            was.
    """
    parser = Parser("export", main.__doc__)
    parser.add_argument(
        "--format",
        choices=("pth", "safetensors", "onnx"),
        required=True,
        help="pth: a plain state_dict, as the tutorial's; safetensors: with classes, mean, std and accuracy; "
        "onnx: the same; takes pixels from 0 to 1, any number of images at once",
    )
    parser.add_argument(
        "--form", choices=tuple(FORMS), help="the tutorial's class that is to load the pth (default: v1)"
    )
    parser.add_argument(
        "--weights", type=Path, help="what to export (default: the newest run's, else the shipped ones)"
    )
    parser.add_argument("--output", type=Path, help="the file to write (default: lenet5.pth, lenet5.onnx, ...)")
    parser.add_argument(
        "--data", type=Path, default=Path("data"), help="where MNIST may be, to check with (default: data)"
    )
    parser.add_argument(
        "--rows",
        action="store_true",
        help="the network that reads rows of digits, as onnx: of any width, 11 logits at each second column",
    )
    options = parser.parse_args(args)
    if options.rows and options.format != "onnx":
        raise UsageError(f"--format {options.format}: the network of --rows is exported as onnx alone")
    _refuse(options.format, options.form, options.weights, options.output)
    if options.rows:
        export_rows.export(options.weights, options.output or Path("rows.onnx"))
        return 0
    recognizer = Recognizer(options.weights, insist=True)
    network, metadata = weights.load(recognizer.weights)
    target = options.output or Path(f"{metadata['network']}.{options.format}")
    if options.form and metadata["network"] != "lenet5":
        raise UsageError(
            f"--form {options.form}: only lenet5 has forms, {recognizer.weights} is of {metadata['network']}"
        )
    if options.format == "pth":
        content = _pth(network, options.form)
    elif options.format == "safetensors":
        content = weights.pack(network.state_dict(), metadata)
    else:
        content = _onnx(network, metadata)

    images = files.training_images(options.data)
    if images is None:
        images = _made_up()
        kind = f"made-up images, as there is no verified MNIST below {options.data}"
    else:
        kind = f"training images below {options.data}, the validation images among them"
    expected = recognizer.logits(images)
    try:
        with replacing(target) as partial:
            partial.write_bytes(content)
            difference = _difference(partial, images, expected)
    except RunError as error:
        raise RunError(
            f"{target}: not written, as it would not predict as {recognizer.weights} does: {error}"
        ) from error
    except OSError as error:
        raise RunError(
            f"{target}: cannot be written ({error.strerror}); {remedy(error, 'pass another file with --output')}"
        ) from error
    print(f"exported  {recognizer.weights}")
    print(f"to        {target}, {len(content):,} bytes")
    print(f"checked   on {len(images):,} {kind}: the same digits, logits differ by at most {difference:.1e}")
    return 0


def _refuse(format_: str, form: str | None, path: Path | None, target: Path | None) -> None:
    if form and format_ != "pth":
        raise UsageError(f"--form {form}: only a pth has a form; leave it out, or pass --format pth")
    if path and path.suffix == ".onnx":
        raise UsageError(
            f"--weights {path}: cannot be exported again; pass the .safetensors, .ckpt or .pth that it was made from"
        )
    if target and target.suffix != f".{format_}":
        raise UsageError(f"--output {target}: must end with .{format_}, by which `predict` knows the format")
    if target and not target.parent.is_dir():
        raise UsageError(f"--output {target}: there is no folder {target.parent}; make it first")
    if target and target.is_dir():
        raise UsageError(f"--output {target}: must be a file, is a folder")
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if not find_spec(name)]
    if format_ == "onnx" and missing:
        raise UsageError(f"--format onnx: needs {', '.join(missing)}: pip install 'lenet_lightning[export]'")


def _pth(network: nn.Module, form: str | None) -> bytes:
    names = FORMS[form] if form else {}
    renamed = OrderedDict()
    for name, values in network.state_dict().items():
        layer, kind = name.split(".")
        renamed[f"{names.get(layer, layer)}.{kind}"] = values
    # to a path, torch.save would write the path's name into the file, too
    file = io.BytesIO()
    torch.save(renamed, file)
    return file.getvalue()


class _FromPixels(nn.Module):
    """The network behind its normalisation: from pixels (N, 1, 28, 28), 0 to 1, to logits (N, 10)."""

    def __init__(self, network: nn.Module, mean: float, std: float) -> None:
        super().__init__()
        self.network = network
        self.mean = mean
        self.std = std

    def forward(self, pixels: Tensor) -> Tensor:
        return self.network((pixels - self.mean) / self.std)


def _onnx(network: nn.Module, metadata: dict[str, Any]) -> bytes:
    program = torch.onnx.export(
        _FromPixels(network, metadata["mean"], metadata["std"]).eval(),
        # two images: with one, the exporter would fix the batch size at one
        (torch.zeros(2, 1, 28, 28),),
        input_names=["pixels"],
        output_names=["logits"],
        dynamic_shapes=({0: "batch"},),
        external_data=False,
        verbose=False,
    )
    return serialised(program, metadata)


def _made_up() -> np.ndarray:
    # squares rather than noise in each pixel, which the first layer would average to the same grey in all images
    squares = np.random.default_rng(0).integers(0, 256, (1_000, 7, 7), np.uint8)
    return squares.repeat(4, axis=1).repeat(4, axis=2)


def _difference(path: Path, images: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference between the logits of the file at `path` and those expected.

    Raises:
        RunError: the file cannot be read, the difference is too large, or a predicted digit differs.
    """
    found = Recognizer(path, insist=True).logits(images)
    difference = float(np.abs(found - expected).max())
    allowed = max(TOLERANCE, RELATIVE_TOLERANCE * float(np.abs(expected).max()))
    others = int((found.argmax(axis=1) != expected.argmax(axis=1)).sum())
    # in this form a difference of NaN fails, too
    if not difference <= allowed or others:
        raise RunError(
            f"logits differ by up to {difference:.1e} (allowed: {allowed:.1e}), "
            f"the digits of {others:,} of {len(images):,} images differ"
        )
    return difference
