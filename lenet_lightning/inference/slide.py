"""Draw what each stage of a network makes of a digit, from the input to the logits, as a picture for slides."""

from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lenet_lightning.atomic import replacing
from lenet_lightning.errors import RunError, UsageError, one_line, printable, remedy
from lenet_lightning.inference.inside import TIMES, Stage
from lenet_lightning.inference.picture import Framed
from lenet_lightning.inference.recognizer import Recognizer

SUFFIXES = (".svg", ".png")

BLUE = (70, 150, 255)  # of the lowest values; the same as in inside.js
SCREEN = (0x3A, 0x3A, 0x42)  # between maps


def draw(recognizer: Recognizer, seen: np.ndarray, path: Path) -> None:
    """Write the picture of a digit as SVG or PNG, 1920 x 1080 pixels.

    Args:
        recognizer: not of an ONNX file.
        seen: (28, 28) uint8, bright on black, as in `Answer.seen`.
        path: its suffix, one of SUFFIXES, is the format.

    Raises:
        UsageError: the weights are an ONNX file.
        RunError: the file cannot be written; an older one stays as it was.
    """
    if not recognizer.stages:
        rule = "must have weights whose stages can be seen, an ONNX file returns its logits alone"
        raise UsageError(f"--inside {printable(path)}: {rule}; pass --weights of .safetensors, .ckpt or .pth")
    _, values = recognizer.inside(Framed(seen))
    figure = _figure(recognizer.stages, values, seen)
    try:
        with rc_context({"svg.hashsalt": "inside"}), replacing(path) as partial:
            # the same digit makes the same file
            figure.savefig(partial, metadata={"Date": None} if path.suffix == ".svg" else None)
    except OSError as error:
        raise RunError(
            f"--inside {printable(path)}: cannot be written: {one_line(error.strerror or error)}; "
            f"{remedy(error, 'pass another file')}"
        ) from error


def colours(values: np.ndarray, logits: bool = False) -> np.ndarray:
    """Return the colours, uint8 (..., 3), of a stage's values: black for 0, white for the largest, blue below 0.

    Logits are from black, the least, to white.
    """
    values = values.astype(np.float64)
    low, size = (values.min(), np.ptp(values)) if logits else (0, np.abs(values).max())
    shares = (values - low) / (size or 1)
    ramp = np.where(shares[..., None] < 0, -shares[..., None] * BLUE, shares[..., None] * 255)
    return np.floor(ramp + 0.5).astype(np.uint8)


def _figure(stages: list[Stage], values: dict[str, np.ndarray], seen: np.ndarray) -> Figure:
    figure = Figure((16, 9), dpi=120, facecolor="white")
    panels = figure.subplots(1, len(stages) + 1, width_ratios=[1.5, *([1] * len(stages))])
    figure.subplots_adjust(left=0.02, right=0.955, bottom=0.05, top=0.86, wspace=0.16)
    panels[0].imshow(seen, cmap="gray", vmin=0, vmax=255, interpolation="none")
    panels[0].set_title(f"input\n28 {TIMES} 28", fontsize=17)
    for panel, stage in zip(panels[1:], stages, strict=True):
        last = stage is stages[-1]
        units = values[stage.name]
        maps, rows, columns = stage.shape
        if rows == 1:  # the ten digits, one below the other
            units = units.reshape(1, columns, 1)
            _name_digits(panel, units.ravel())
        panel.imshow(_sheet(colours(units, last), across=2 if maps > 6 else 1), interpolation="none")
        size = f"{maps} {TIMES} {rows} {TIMES} {columns}" if maps > 1 else f"{rows * columns}"
        panel.set_title(f"{stage.name}\n{size}", fontsize=17)
    for panel in panels:
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set_color("#3a3a42")  # a white unit would have no border
    return figure


def _sheet(maps: np.ndarray, across: int) -> np.ndarray:
    """Lay maps (N, rows, columns, 3) out in so many columns, with lines between them."""
    count, rows, columns, _ = maps.shape
    gap = 0 if count == 1 else max(rows // 10, 1)
    sheet = np.full((-(-count // across) * (rows + gap) - gap, across * (columns + gap) - gap, 3), SCREEN, np.uint8)
    for number, units in enumerate(maps):
        top, left = number // across * (rows + gap), number % across * (columns + gap)
        sheet[top : top + rows, left : left + columns] = units
    return sheet


def _name_digits(panel: Axes, values: np.ndarray) -> None:
    for digit, value in enumerate(values):
        weight = "bold" if value == values.max() else "normal"
        panel.text(-0.7, digit, str(digit), fontsize=20, weight=weight, ha="right", va="center")
        panel.text(0.7, digit, f"{value:.1f}".replace("-", "\N{MINUS SIGN}"), weight=weight, fontsize=13, va="center")
