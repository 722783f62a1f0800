import json

import numpy as np
import onnx
import pytest

from lenet_lightning.__main__ import main
from lenet_lightning.inference import export_rows
from lenet_lightning.metadata import METADATA_KEY


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "rows.onnx"
    assert main(["export", "--format", "onnx", "--rows", "--output", str(path)]) == 0
    return path


def test_rows_of_any_number_and_width_have_logits_at_every_second_column(exported):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(exported), providers=["CPUExecutionProvider"])
    for count, width in ((1, 8), (3, 77), (1, 5_000)):
        (logits,) = session.run(None, {"pixels": np.zeros((count, 1, 28, width), np.float32)})
        assert logits.shape == (count, 11, 1 + width // 2)
    (properties,) = (each.value for each in onnx.load(exported).metadata_props if each.key == METADATA_KEY)
    assert json.loads(properties)["classes"] == [*"0123456789", "none"]


def test_a_file_whose_logits_differ_is_not_put_in_place(tmp_path, monkeypatch, capsys):
    target = tmp_path / "rows.onnx"
    target.write_bytes(b"older")
    made = export_rows._onnx

    def of_another(reader, metadata):
        content = made(reader, metadata)
        reader.network.linear3.bias += 0.01
        return content

    monkeypatch.setattr(export_rows, "_onnx", of_another)
    assert main(["export", "--format", "onnx", "--rows", "--output", str(target)]) == 1
    assert "differs at a width of 8" in capsys.readouterr().err
    assert target.read_bytes() == b"older"


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_rows_are_exported_as_onnx_alone(kind, capsys):
    assert main(["export", "--format", kind, "--rows"]) == 2
    assert f"--format {kind}" in capsys.readouterr().err
