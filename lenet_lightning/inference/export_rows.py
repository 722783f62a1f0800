"""The network that reads rows as ONNX: of any number of rows and any width."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from lenet_lightning.atomic import replacing
from lenet_lightning.errors import RunError, remedy
from lenet_lightning.inference.onnx_program import serialised
from lenet_lightning.metadata import DIGITS
from lenet_lightning.rows.network import HEIGHT, STEP
from lenet_lightning.rows.reader import SHIPPED, RowReader

TOLERANCE = 1e-4  # how much a logit may differ; they reach some 30
WIDTHS = (8, 28, 101, 400)  # that are compared


def export(weights: Path | None, target: Path) -> None:
    """Write the network of RowReader as ONNX, which is put in place once its logits are found equal.

    Its input `pixels` is (N, 1, 28, W), float32, 0 to 1; its output `logits` (N, 11, 1 + W // 2): at each second column
    the ten digits and none, see `rows.network`; the metadata has the `temperature` by which they are to be divided.

    Raises:
        UsageError: there is no such file of weights.
        RunError: it is damaged, the target cannot be written, or logits differ; an older file stays as it was.
    """
    reader = RowReader(weights)
    metadata = {"network": "lenet5_swept", "classes": [*DIGITS, "none"], "temperature": reader.temperature}
    content = _onnx(reader, metadata)
    try:
        with replacing(target) as partial:
            partial.write_bytes(content)
            difference = _difference(partial, reader)
    except OSError as error:
        raise RunError(
            f"{target}: cannot be written ({error.strerror}); {remedy(error, 'pass another file with --output')}"
        ) from error
    print(f"exported  {weights or SHIPPED}")
    print(f"to        {target}, {len(content):,} bytes")
    print(f"checked   on made-up rows of {', '.join(map(str, WIDTHS))} columns: logits differ by {difference:.1e}")


def _onnx(reader: RowReader, metadata: dict[str, Any]) -> bytes:
    columns = torch.export.Dim(
        "half", min=4, max=1 << 20
    )  # an exported program is only known to fit even widths; it takes odd ones, too
    program = torch.onnx.export(
        reader.network,
        (torch.zeros(2, 1, HEIGHT, 100),),
        input_names=["pixels"],
        output_names=["logits"],
        dynamic_shapes=({0: "batch", 3: STEP * columns},),
        external_data=False,
        verbose=False,
    )
    return serialised(program, metadata)


def _difference(path: Path, reader: RowReader) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    most = 0.0
    for width in WIDTHS:
        rows = torch.rand(2, 1, HEIGHT, width, generator=torch.Generator().manual_seed(width))
        (found,) = session.run(None, {"pixels": rows.numpy()})
        with torch.inference_mode():
            expected = reader.network(rows).numpy()
        if found.shape != expected.shape or not (np.abs(found - expected) <= TOLERANCE).all():
            raise RunError(f"{path}: must have the network's logits, differs at a width of {width}")
        most = max(most, float(np.abs(found - expected).max()))
    return most
