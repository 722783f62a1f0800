"""The bytes of an ONNX file, made of an exported program."""

import json
from typing import Any

from lenet_lightning.metadata import METADATA_KEY


def serialised(program: Any, metadata: dict[str, Any]) -> bytes:
    """Return the bytes of what `torch.onnx.export` returns, with metadata; equal programs are equal bytes."""
    assert program is not None
    # the exporter records for each layer the file on this machine that called it
    for part in (program.model.graph, *program.model.graph):
        part.metadata_props.clear()
    program.model.metadata_props[METADATA_KEY] = json.dumps(metadata, sort_keys=True)
    return program.model_proto.SerializeToString(deterministic=True)
