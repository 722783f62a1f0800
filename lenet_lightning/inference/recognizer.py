"""Predict the digit in a picture, with its probability; the answer may also be "rejected" or "blank"."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_lightning import run_folders
from lenet_lightning.errors import RunError, UsageError, printable
from lenet_lightning.inference import line_answers, onnx_session, picture, trial
from lenet_lightning.inference.card import card

if TYPE_CHECKING:
    from lenet_lightning.inference.inside import Stage
    from lenet_lightning.rows.reader import RowReader

# images that go through the network at once: more are no faster and take memory
BATCH_SIZE = 256


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

    def _repr_png_(self) -> bytes:
        """Return the PNG that a notebook shows: the framed digit, its bars and the notice."""
        png = BytesIO()
        card(self.seen, self.probabilities, self.rejected, self.notice).save(png, "PNG", optimize=True)
        return png.getvalue()


class Recognizer:
    """Predicts the handwritten digit in a picture of any kind.

    Args:
        weights: a .safetensors, .ckpt, .pth, .pt or .onnx file, of others too; by default those of the newest run below
            `runs`, else those that come with the package.
        invert: whether the ink is lighter than the background: "yes", "no", or "auto" to detect it for each picture.
        reject_below: answers are rejected whose two best logits differ by less (LeCun et al. 1998, section III.C).
            A difference of d makes the best digit exp(d) times as probable as the second.
        insist: whether to use weights of others even if, where MNIST is in the folder `data`, they read fewer than
            90 % of its validation digits right.

    Raises:
        UsageError: the file does not exist or has another suffix; invert or reject_below is invalid.
        RunError: the file is damaged, too large, does not fit its network, has invalid contents, or reads too few
            digits right.

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

    def __init__(
        self,
        weights: Path | str | None = None,
        invert: str = "auto",
        reject_below: float = 0.0,
        insist: bool = False,
    ) -> None:
        if invert not in picture.INVERT:
            raise UsageError(f"invert must be one of {', '.join(picture.INVERT)}, got {invert}")
        if not reject_below >= 0:
            raise UsageError(f"reject_below must be 0 or more, got {reject_below}")
        self.invert = invert
        self.reject_below = reject_below
        self.weights = Path(weights) if weights else _default_weights()
        self._stages: Callable[[], list[Stage]] = list
        if self.weights.suffix.lower() == ".onnx":
            self._network, self.metadata = onnx_session.load(self.weights)
        else:
            self._network, self._units, self._stages, self.metadata = _load_torch(self.weights)
        if not insist and (tried := self._tried) and tried.accuracy < trial.LEAST:
            raise RunError(
                f"{printable(self.weights)}: must read {trial.LEAST:.0%} of MNIST's validation digits right, reads "
                f"{tried.accuracy:.1%}{self._adapted}: it may be for other images, pixels, activations or pooling; "
                "use other weights, or insist (--insist)"
            )

    @cached_property
    def stages(self) -> "list[Stage]":
        """The stages of the network, in order; empty for an ONNX file, which returns logits alone."""
        # not before it is asked for: what a network takes would add to what a large picture takes
        return self._stages()

    @property
    def accuracy(self) -> str:
        """What is known of the weights, to be put behind their name: their accuracy, and what was adapted."""
        accuracy = self.metadata.get("test/acc")
        if accuracy is not None:
            return f", {accuracy:.2%} of MNIST's 10,000 test digits right"
        if "adapted" not in self.metadata:
            return ""
        if self._tried is None:
            return f"{self._adapted}, of others, not tried: MNIST is not in {trial.ROOT}"
        of = f"of {self._tried.digits:,} of MNIST's validation digits right"
        return f"{self._adapted}, of others, {self._tried.accuracy:.2%} {of}"

    @cached_property
    def _row_reader(self) -> "RowReader":
        from lenet_lightning.rows.reader import RowReader

        return RowReader()

    @property
    def _adapted(self) -> str:
        return f" ({self.metadata['adapted']})" if self.metadata.get("adapted") else ""

    @cached_property
    def _tried(self) -> trial.Trial | None:
        """How well weights of others read; None if they are ours, or MNIST is missing."""
        return trial.on_validation_digits(self.logits) if "adapted" in self.metadata else None

    def __call__(self, image: picture.Picture) -> Answer:
        """Predict the digit in one picture, in any form that `picture.frame` takes.

        Raises:
            RunError: the picture is damaged, not a picture, too large, or cannot be read safely.
            UsageError: the array has an unsupported shape or type.
        """
        return self.answers([picture.frame(image, self.invert)])[0]

    def line(self, image: picture.Picture) -> line_answers.LineAnswer:
        """Read the rows of digits in one picture, in any form that `picture.frame` takes.

        Errors are those of a call.
        """
        return self.rows_answer(picture.frame_rows(image, self.invert))

    def rows_answer(self, framed: picture.FramedRows) -> line_answers.LineAnswer:
        """Read the rows of a picture that `picture.frame_rows` prepared."""
        return line_answers.read(framed, self.logits, self._row_reader, self.reject_below)

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
        return self._finite(np.concatenate([np.empty((0, 10), np.float32), *map(self._network, batches)]))

    def inside(self, framed: picture.Framed) -> tuple[Answer, dict[str, np.ndarray]]:
        """Predict the digit of a picture that `picture.frame` prepared, and return what each stage makes of it.

        The values, float32, are of the same pass as the answer, by the stage's name in `stages` and in its shape; the
        last are the logits. There are none for a blank picture or an ONNX file.

        Raises:
            RunError: as `logits`.
        """
        if framed.pixels is None or not self.stages:
            return self.answers([framed])[0], {}
        values = self._units(framed.pixels[None])
        logits = self._finite(values[self.stages[-1].name])[0]
        shown = {stage.name: values[stage.name].reshape(stage.shape) for stage in self.stages}
        return self._answer(framed, logits), shown

    def _finite(self, logits: np.ndarray) -> np.ndarray:
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
Units = Callable[[np.ndarray], dict[str, np.ndarray]]  # the same to what each stage makes of them


def _default_weights() -> Path:
    from lenet_lightning import weights

    return run_folders.newest(Path("runs"), "weights.safetensors") or weights.SHIPPED


def _load_torch(path: Path) -> tuple[Network, Units, Callable[[], "list[Stage]"], dict[str, Any]]:
    import torch

    from lenet_lightning import weights
    from lenet_lightning.inference import inside

    network, metadata = weights.load(path)
    mean, std = metadata["mean"], metadata["std"]

    def normalised(images: np.ndarray) -> torch.Tensor:
        return torch.tensor(images).unsqueeze(1).float().div_(255).sub_(mean).div_(std)

    def run(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return network(normalised(images)).numpy()

    def units(images: np.ndarray) -> dict[str, np.ndarray]:
        with torch.inference_mode():
            return {name: values.numpy() for name, values in network.stages(normalised(images)).items()}

    return run, units, lambda: inside.stages_of(network), metadata
