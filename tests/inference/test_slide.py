"""The stages of a digit as values and as a picture for slides."""

import numpy as np
import pytest
import torch
from PIL import Image

from lenet_lightning import Recognizer, weights
from lenet_lightning.__main__ import main
from lenet_lightning.inference import picture, slide
from lenet_lightning.networks import NETWORKS
from tests.inference import corpus


def test_a_slide_of_an_onnx_file_is_refused(in_an_empty_folder, four, threes, capfd):
    assert main(["predict", str(four), "--weights", str(threes), "--inside", "out.svg"]) == 2
    err = capfd.readouterr().err.splitlines()[-1]
    assert "ONNX" in err
    assert "--weights" in err


@pytest.fixture
def four(tmp_path):
    path = tmp_path / "four.png"
    corpus.drawn(*corpus.FOUR).save(path)
    return path


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_predict_draws_the_stages_for_a_slide(in_an_empty_folder, four, tmp_path, capfd, suffix):
    targets = [tmp_path / f"{number}{suffix}" for number in range(2)]
    for target in targets:
        assert main(["predict", str(four), "--weights", str(weights.SHIPPED), "--inside", str(target)]) == 0
    assert capfd.readouterr().out.split()[1] == "4"
    first, second = (target.read_bytes() for target in targets)
    assert first == second
    assert first.startswith(b"<?xml" if suffix == ".svg" else b"\x89PNG")


def test_colours_tell_sign_and_size():
    black, white, blue = [0, 0, 0], [255] * 3, list(slide.BLUE)
    assert slide.colours(np.array([-2.0, 0, 2])).tolist() == [blue, black, white]
    assert slide.colours(np.array([-3.0, -2, -1]), logits=True).tolist() == [black, [128] * 3, white]
    assert slide.colours(np.zeros(2)).tolist() == [black, black]


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        (("--inside", "out.jpg"), ".svg or .png"),
        (("--inside", "none/out.svg"), "folder that exists"),
        (("--inside", "out.svg", "--line"), "one digit"),
        (("four.png", "--inside", "out.svg"), "one digit"),
    ],
)
def test_what_no_slide_can_show_is_refused_before_anything_is_read(in_an_empty_folder, four, capfd, options, rule):
    assert main(["predict", str(four), *options]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert rule in err
    assert "--inside" in err


def test_a_blank_picture_has_no_inside(tmp_path):
    blank = picture.frame(Image.new("L", (100, 100), 255))
    answer, stages = Recognizer(weights.SHIPPED).inside(blank)
    assert answer.notice == "blank"
    assert stages == {}


@pytest.mark.parametrize("name", NETWORKS)
def test_inside_agrees_with_logits(tmp_path, name):
    torch.manual_seed(1)
    path = tmp_path / "weights.safetensors"
    weights.write(NETWORKS[name]().state_dict(), weights.metadata_of(name), path)
    recognizer = Recognizer(path)
    framed = picture.frame(corpus.drawn(*corpus.FOUR))
    answer, stages = recognizer.inside(framed)
    assert [(name, values.shape) for name, values in stages.items()] == [
        (stage.name, stage.shape) for stage in recognizer.stages
    ]
    np.testing.assert_array_equal(stages[recognizer.stages[-1].name].ravel(), recognizer.logits(framed.pixels[None])[0])
    np.testing.assert_array_equal(answer.probabilities, recognizer.answers([framed])[0].probabilities)
