"""Predict the digit in a picture, with its probability; the answer may also be "rejected" or "blank"."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from lenet_lightning import run_folders
from lenet_lightning.errors import RunError, UsageError, one_line, printable
from lenet_lightning.inference import picture
from lenet_lightning.metadata import METADATA_KEY, check_size, parse_metadata

# images that go through the network at once: more are no faster and take memory
BATCH_SIZE = 256

# that ONNX Runtime may use besides the weights, for 256 images; our networks take 30 MB
MOST_ONNX_MEMORY = 512 * 2**20
# to load an ONNX file and to run it on one image; our networks take 0.05 s
MOST_ONNX_SECONDS = 5

T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
    """The prediction for one picture.

    Attributes:
        digit: 0 to 9; None if the picture is blank or the answer is rejected.
        probabilities: (10,) float64, of the ten digits; None if blank.
        rejected: whether the two best logits are closer than `reject_below`.
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
    """Predicts the handwritten digit in a picture of any kind.

    Args:
        weights: a .safetensors, .ckpt, .pth, .pt or .onnx file; by default the weights of the newest run below
            `runs`, else those that come with the package.
        invert: whether the ink is lighter than the background: "yes", "no", or "auto" to detect it for each picture.
        reject_below: answers are rejected whose two best logits differ by less (LeCun et al. 1998, section III.C).
            A difference of d makes the best digit exp(d) times as probable as the second.

    Raises:
        UsageError: the file does not exist or has another suffix; invert or reject_below is invalid.
        RunError: the file is damaged, too large, does not fit its network, or has invalid contents.

    Example:
        >>> import numpy as np
        >>> from lenet_lightning import Recognizer, weights
        >>> paper = np.full((100, 100), 255, np.uint8)
        >>> paper[20:28, 30:70] = 0  # a 7: its bar, then its stem
        >>> for row in range(20, 80):
        ...     paper[row, 62 - row // 4 : 70 - row // 4] = 0
        >>> answer = Recognizer(weights.SHIPPED)(paper)
        >>> answer.digit, answer.probabilities.shape
        (7, (10,))
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
        self._network, self.metadata = load(self.weights)

    def __call__(self, image: picture.Picture) -> Answer:
        """Predict the digit in one picture: a path, an open file, a PIL image, array or tensor (see `picture.frame`).

        Raises:
            RunError: the picture is damaged, not a picture, too large, or cannot be read safely.
            UsageError: the array has an unsupported shape or type.
        """
        return self.answers([picture.frame(image, self.invert)])[0]

    def answers(self, framed: Sequence[picture.Framed]) -> list[Answer]:
        """Predict the digits of pictures that `picture.frame` prepared, in batches."""
        inked = [each.pixels for each in framed if each.pixels is not None]
        logits = iter(self.logits(np.stack(inked)) if inked else ())
        return [self._answer(each, None if each.pixels is None else next(logits)) for each in framed]

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Return the logits (N, 10), float32, of images (N, 28, 28), uint8 as MNIST has them: digit bright on black.

        Raises:
            RunError: they are not finite, or the ONNX network does not accept so many images at once.
        """
        batches = (images[start : start + BATCH_SIZE] for start in range(0, len(images), BATCH_SIZE))
        logits = np.concatenate([np.empty((0, 10), np.float32), *map(self._network, batches)])
        if not np.isfinite(logits).all():
            raise RunError(f"{printable(self.weights)}: must return finite logits, returns others; use other weights")
        return logits

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
    from lenet_lightning import weights

    return run_folders.newest(Path("runs"), "weights.safetensors") or weights.SHIPPED


def _load_torch(path: Path) -> tuple[Network, dict[str, Any]]:
    import torch

    from lenet_lightning import weights

    network, metadata = weights.load(path)
    mean, std = metadata["mean"], metadata["std"]

    def run(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            pixels = torch.tensor(images).unsqueeze(1).float().div_(255)
            return network(pixels.sub_(mean).div_(std)).numpy()

    return run, metadata


def _load_onnx(path: Path) -> tuple[Network, dict[str, Any]]:
    shown = printable(path)
    if not path.is_file():
        raise UsageError(f"{shown}: no such weights file; `export --format onnx` writes one")
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise UsageError(f"{shown}: ONNX files need onnxruntime: pip install 'lenet_lightning[export]'") from error
    from lenet_lightning.inference import onnx_model

    onnxruntime.set_default_logger_severity(4)  # else it prints the errors that are raised below
    check_size(path)

    def set_up() -> Any:
        content = path.read_bytes()
        onnx_model.check(content)
        arena = onnxruntime.OrtArenaCfg({"max_mem": MOST_ONNX_MEMORY})
        kind = onnxruntime.OrtMemoryInfo(
            "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
        )
        onnxruntime.create_and_register_allocator(kind, arena)
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.use_env_allocators", "1")
        options.add_session_config_entry("session.load_model_format", "ONNX")  # else it accepts its own format as well
        # memory for folding constants would not come from the arena and its limit
        return onnxruntime.InferenceSession(
            content, options, providers=["CPUExecutionProvider"], disabled_optimizers=["ConstantFolding"]
        )

    # ONNX Runtime's exceptions have no common base
    try:
        session = _within(MOST_ONNX_SECONDS, set_up)
    except Exception as error:
        raise RunError(f"{shown}: cannot be loaded as ONNX: {one_line(error)}") from error
    shapes = [(list(port.shape[1:]), port.type) for port in (*session.get_inputs(), *session.get_outputs())]
    if shapes != [([1, 28, 28], "tensor(float)"), ([10], "tensor(float)")]:
        raise RunError(
            f"{shown}: must take floats (N, 1, 28, 28), pixels from 0 to 1, and return (N, 10), got {one_line(shapes)}"
        )
    (pixels,) = session.get_inputs()

    def run(images: np.ndarray) -> np.ndarray:
        try:
            (logits,) = session.run(None, {pixels.name: images[:, None].astype(np.float32) / 255})
        except Exception as error:
            raise RunError(f"{shown}: cannot read {len(images)} images at once: {one_line(error)}") from error
        if logits.shape != (len(images), 10):
            raise RunError(f"{shown}: must return ({len(images)}, 10) for {len(images)} images, returns {logits.shape}")
        return logits

    try:
        blank = _within(MOST_ONNX_SECONDS, lambda: run(np.zeros((1, 28, 28), np.uint8)))
    except TimeoutError as error:
        raise RunError(f"{shown}: {error}") from error
    if not np.isfinite(blank).all():
        raise RunError(f"{shown}: must return finite logits, returns others for a black image; use other weights")
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY, "{}")
    return run, parse_metadata(path, text)


def _within(seconds: float, call: Callable[[], T]) -> T:
    """Call in a thread, so that a signal can end the process while ONNX Runtime computes.

    Raises:
        TimeoutError: it takes longer.
    """
    outcome: Future[T] = Future()

    def work() -> None:
        try:
            outcome.set_result(call())
        except Exception as error:
            outcome.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        return outcome.result(seconds)
    except TimeoutError as error:
        raise TimeoutError(f"it takes more than {seconds} s for one image, our networks 0.05 s") from error
