import inspect
import io

import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from lenet_lightning import LeNet5, plots
from lenet_lightning.evaluation import pictures

NAMES = {
    "curves",
    "confusion_matrix",
    "predictions",
    "worst_errors",
    "filters",
    "feature_maps",
    "samples",
    "rejection",
    "calibration",
}


@pytest.fixture
def plot_data():
    def make(wrong=5, epochs=3, validated=True, distorted=2):
        torch.manual_seed(0)
        labels = torch.arange(10).repeat(20)
        logits = torch.nn.functional.one_hot(labels, 10) * 4.0 + torch.randn(200, 10) * 0.1
        logits[:wrong] = logits[:wrong].roll(1, dims=1)
        rows = [
            {"epoch": str(e), "train/loss": str(1 / e), "train/acc": str(1 - 0.1 / e)} for e in range(1, epochs + 1)
        ]
        if validated:
            rows = [row | {"val/loss": row["train/loss"], "val/acc": row["train/acc"]} for row in rows]
        originals = torch.rand(10, 1, 28, 28)
        return pictures.Material(
            rows=rows,
            network=LeNet5(),
            images=torch.randint(0, 256, (200, 1, 28, 28), dtype=torch.uint8),
            normalised=torch.randn(1, 1, 28, 28),
            labels=labels,
            logits=logits,
            originals=originals,
            distorted=[originals] * distorted,
        )

    return make


def outcome(material):
    return material.logits, material.labels


@pytest.mark.usual
@pytest.mark.parametrize(
    "odd",
    [{}, {"wrong": 200, "epochs": 1, "validated": False}, {"wrong": 0, "epochs": 0, "distorted": 0}],
    ids=str,
)
def test_all_are_drawn_whatever_the_run_was(plot_data, tmp_path, odd):
    paths = pictures.draw(plot_data(**odd), tmp_path / "pictures")
    assert {path.stem for path in paths} == NAMES - ({"curves"} if odd.get("epochs") == 0 else set())
    for path in paths:
        with Image.open(path) as picture:
            assert min(picture.size) > 100
            assert len(picture.convert("L").getcolors()) > 3  # something is on it


def test_the_confusion_matrix_shades_errors_alone(plot_data):
    axes = plots.confusion_matrix(*outcome(plot_data(wrong=5))).axes[0]
    shaded = axes.images[0].get_array()
    assert shaded.trace() == 0
    assert shaded.sum() == 5
    assert axes.get_title() == "195 of 200 right, 5 wrong"


def test_the_most_probable_error_comes_first(plot_data):
    case = plot_data(wrong=3)
    case.logits[1] *= 2
    first = plots.worst_errors(case.images, *outcome(case)).axes[0].texts[0].get_text()
    assert first.startswith("1, predicted 2")


def test_the_best_epoch_is_marked(plot_data):
    figure = plots.curves(plot_data(epochs=4).rows)
    assert "best: epoch 4" in [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def test_a_notebook_shows_a_figure_as_a_picture(plot_data):
    shown = plots.rejection(*outcome(plot_data()))._repr_png_()
    with Image.open(io.BytesIO(shown), formats=["PNG"]) as picture:
        assert picture.width > 300


def test_what_a_network_has_not_is_named():
    plain = torch.nn.Linear(784, 10)
    with pytest.raises(ValueError, match=r"network must have a torch\.nn\.Conv2d, Linear has none"):
        plots.filters(plain)
    with pytest.raises(ValueError, match="network must have a method feature_maps, Linear has none"):
        plots.feature_maps(plain, torch.zeros(1, 28, 28), 7)


def test_every_public_drawing_is_complete_in_help():
    assert set(plots.__all__) == NAMES
    for name in plots.__all__:
        drawing = getattr(plots, name)
        assert drawing.__doc__.startswith("Draw ")
        assert inspect.signature(drawing).return_annotation is Figure
