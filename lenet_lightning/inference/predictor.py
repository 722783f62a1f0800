"""Weights and a picture to a digit with its probability, or to "rejected" or "blank"."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lenet_lightning import run_folders
from lenet_lightning.errors import RunError, UsageError
from lenet_lightning.inference import picture

# images that go through the network at once: more is no faster, and takes memory
BATCH_SIZE = 256


@dataclass(frozen=True)
class Answer:
    """What was read in one picture.

    Attributes:
        digit: 0 to 9; None if the picture is blank or the answer is rejected.
        probabilities: of the ten digits; None if blank.
        rejected: whether the two best digits are closer than asked for.
        seen: the (28, 28) uint8 image that the network saw, digit bright on black; None if blank.
        notice: what the user should know about how the picture was read, or None.
    """

    digit: int | None
    probabilities: np.ndarray | None
    rejected: bool
    seen: np.ndarray | None = field(repr=False)
    notice: str | None

    @property
    def ranked(self) -> list[int]:
        """The ten digits, most probable first; none if blank."""
        return [] if self.probabilities is None else np.argsort(-self.probabilities, kind="stable").tolist()


class Recognizer:
    """Reads handwritten digits: a picture of any kind in, a digit out.

    Args:
        weights: a .safetensors, .ckpt, .pth, .pt or .onnx file; unless given, the weights of the newest run below
            `runs`, or those that come with the package.
        invert: whether pictures hold light ink on a dark ground: "yes", "no", or "auto" to decide for each.
        reject_below: answers are rejected whose two best logits differ by less (LeCun et al. 1998, section III.C).
            A difference of d makes the best digit exp(d) times as probable as the second.

    Raises:
        UsageError: no such file, or it ends otherwise; invert is something else; reject_below is negative.
        RunError: the file is damaged or does not fit.
    """

    def __init__(self, weights: Path | str | None = None, invert: str = "auto", reject_below: float = 0.0) -> None:
        if invert not in picture.INVERT:
            raise UsageError(f"invert must be one of {', '.join(picture.INVERT)}, got {invert}")
        if not reject_below >= 0:
            raise UsageError(f"reject_below must be 0 or more, got {reject_below}")
        self.invert = invert
        self.reject_below = reject_below
        self.weights = Path(weights) if weights else _default_weights()
        load = _load_onnx if self.weights.suffix == ".onnx" else _load_torch
        self._network, self.facts = load(self.weights)

    def __call__(self, image: Path | str | Image.Image | np.ndarray) -> Answer:
        """Read one picture: a path, a PIL image, an open file, or an array or tensor as `picture.frame` takes it.

        Raises:
            RunError: it is damaged, no picture, too large, or none that can be read safely.
        """
        return self.answers([picture.frame(image, self.invert)])[0]

    def answers(self, framed: Sequence[picture.Framed]) -> list[Answer]:
        """Read pictures that `picture.frame` prepared, many at a time."""
        inked = [each.pixels for each in framed if each.pixels is not None]
        logits = iter(self.logits(np.stack(inked)) if inked else ())
        return [self._answer(each, None if each.pixels is None else next(logits)) for each in framed]

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Give the logits (N, 10), float32, of images (N, 28, 28), uint8 as MNIST has them: digit bright on black."""
        batches = (images[start : start + BATCH_SIZE] for start in range(0, len(images), BATCH_SIZE))
        return np.concatenate([np.empty((0, 10), np.float32), *map(self._network, batches)])

    def _answer(self, framed: picture.Framed, logits: np.ndarray | None) -> Answer:
        if logits is None:
            return Answer(None, None, False, None, framed.notice)
        powers = np.exp(logits - logits.max(), dtype=np.float64)
        second, best = np.sort(logits)[-2:]
        rejected = bool(best - second < self.reject_below)
        digit = None if rejected else int(logits.argmax())
        return Answer(digit, powers / powers.sum(), rejected, framed.pixels, framed.notice)


Network = Callable[[np.ndarray], np.ndarray]  # uint8 (N, 28, 28) to float32 logits (N, 10)


def _default_weights() -> Path:
    from lenet_lightning.inference import weights

    return run_folders.newest(Path("runs"), "weights.safetensors") or weights.SHIPPED


def _load_torch(path: Path) -> tuple[Network, dict[str, Any]]:
    import torch

    from lenet_lightning.inference import weights

    network, facts = weights.load(path)
    mean, std = facts["mean"], facts["std"]

    def run(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            pixels = torch.tensor(images).unsqueeze(1).float().div_(255)
            return network(pixels.sub_(mean).div_(std)).numpy()

    return run, facts


def _load_onnx(path: Path) -> tuple[Network, dict[str, Any]]:
    import json

    if not path.is_file():
        raise UsageError(f"{path}: no such weights file; `export --format onnx` writes one")
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise UsageError(f"{path}: ONNX files need onnxruntime: pip install 'lenet_lightning[export]'") from error
    onnxruntime.set_default_logger_severity(4)  # it would print what is raised below
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    # its exceptions share no base of their own
    except Exception as error:
        raise RunError(f"{path}: cannot be loaded as ONNX: {' '.join(str(error).split())}") from error
    shapes = [(list(port.shape[1:]), port.type) for port in (*session.get_inputs(), *session.get_outputs())]
    if shapes != [([1, 28, 28], "tensor(float)"), ([10], "tensor(float)")]:
        raise RunError(f"{path}: must take floats (N, 1, 28, 28), pixels from 0 to 1, and give (N, 10), got {shapes}")
    (pixels,) = session.get_inputs()

    def run(images: np.ndarray) -> np.ndarray:
        return session.run(None, {pixels.name: images[:, None].astype(np.float32) / 255})[0]

    return run, json.loads(session.get_modelmeta().custom_metadata_map.get("lenet_lightning", "{}"))
