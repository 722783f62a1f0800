"""Run an ONNX file in ONNX Runtime, within limits of memory and time."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from lenet_lightning.errors import RunError, UsageError, one_line, printable
from lenet_lightning.inference import onnx_model
from lenet_lightning.metadata import METADATA_KEY, check_size, parse_metadata

# that ONNX Runtime may use besides the weights, for 256 images; our networks take 30 MB
MOST_MEMORY = 512 * 2**20
# images at once that a file may ask for
MOST_FIXED = 256
# to load an ONNX file and to run it on one image; our networks take 0.05 s
MOST_SECONDS = 5

T = TypeVar("T")


def load(path: Path) -> tuple[Callable[[np.ndarray], np.ndarray], dict[str, Any]]:
    """Return the network, from images (N, 28, 28), uint8, to logits (N, 10), float32, and the metadata of a file.

    The metadata of others' files is `adapted` alone: how they are run, or "" if as ours.

    Raises:
        UsageError: the file does not exist, or onnxruntime is not installed.
        RunError: it is damaged, too large, slow, or not a network of this kind.
    """
    shown = printable(path)
    if not path.is_file():
        raise UsageError(f"{shown}: no such weights file; `export --format onnx` writes one")
    # it would leave a number for this machine in the user's home, and report to its makers
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise UsageError(f"{shown}: ONNX files need onnxruntime: pip install 'lenet_lightning[export]'") from error

    onnxruntime.set_default_logger_severity(4)  # else it prints the errors that are raised below
    check_size(path)

    def set_up() -> Any:
        content = path.read_bytes()
        onnx_model.check(content)
        arena = onnxruntime.OrtArenaCfg({"max_mem": MOST_MEMORY})
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
        session = _within(MOST_SECONDS, set_up)
    except Exception as error:
        raise RunError(f"{shown}: cannot be loaded as ONNX: {one_line(error)}") from error
    shapes = [(list(port.shape[1:]), port.type) for port in (*session.get_inputs(), *session.get_outputs())]
    if shapes != [([1, 28, 28], "tensor(float)"), ([10], "tensor(float)")]:
        raise RunError(
            f"{shown}: must take floats (N, 1, 28, 28), pixels from 0 to 1, and return (N, 10), got {one_line(shapes)}"
        )
    (pixels,) = session.get_inputs()
    # an int where the file fixes how many images it takes, else a name
    fixed = pixels.shape[0] if isinstance(pixels.shape[0], int) else None
    if fixed is not None and not 1 <= fixed <= MOST_FIXED:
        raise RunError(f"{shown}: must take from 1 to {MOST_FIXED} images at once, takes {fixed:,}; export it anew")

    def run(images: np.ndarray) -> np.ndarray:
        if fixed is None or len(images) == fixed:
            return run_at_once(images)
        filled = np.concatenate([images, np.zeros((-len(images) % fixed, 28, 28), np.uint8)])
        parts = [run_at_once(filled[start : start + fixed]) for start in range(0, len(filled), fixed)]
        return np.concatenate(parts)[: len(images)]

    def run_at_once(images: np.ndarray) -> np.ndarray:
        try:
            (logits,) = session.run(None, {pixels.name: images[:, None].astype(np.float32) / 255})
        except Exception as error:
            raise RunError(f"{shown}: cannot read {len(images)} images at once: {one_line(error)}") from error
        if logits.shape != (len(images), 10):
            raise RunError(f"{shown}: must return ({len(images)}, 10) for {len(images)} images, returns {logits.shape}")
        return logits

    try:
        blank = _within(MOST_SECONDS, lambda: run(np.zeros((1, 28, 28), np.uint8)))
    except TimeoutError as error:
        raise RunError(f"{shown}: {error}") from error
    if not np.isfinite(blank).all():
        raise RunError(f"{shown}: must return finite logits, returns others for a black image; use other weights")
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        return run, {"adapted": f"in batches of {fixed}" if fixed else ""}
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
