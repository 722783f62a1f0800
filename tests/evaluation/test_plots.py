import pytest
import torch
from PIL import Image

from lenet_lightning import LeNet5
from lenet_lightning.evaluation import plots

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
        return plots.PlotData(
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


@pytest.mark.usual
@pytest.mark.parametrize(
    "odd",
    [{}, {"wrong": 200, "epochs": 1, "validated": False}, {"wrong": 0, "epochs": 0, "distorted": 0}],
    ids=str,
)
def test_all_are_drawn_whatever_the_run_was(plot_data, tmp_path, odd):
    paths = plots.draw(plot_data(**odd), tmp_path / "pictures")
    assert {path.stem for path in paths} == NAMES - ({"curves"} if odd.get("epochs") == 0 else set())
    for path in paths:
        with Image.open(path) as picture:
            assert min(picture.size) > 100
            assert len(picture.convert("L").getcolors()) > 3  # something is on it


def test_the_confusion_matrix_shades_errors_alone(plot_data):
    axes = plots.confusion_matrix(plot_data(wrong=5)).axes[0]
    shaded = axes.images[0].get_array()
    assert shaded.trace() == 0
    assert shaded.sum() == 5
    assert axes.get_title() == "195 of 200 right, 5 wrong"


def test_the_most_probable_error_comes_first(plot_data):
    case = plot_data(wrong=3)
    case.logits[1] *= 2
    first = plots.worst_errors(case).axes[0].texts[0].get_text()
    assert first.startswith("1, predicted 2")


def test_the_best_epoch_is_marked(plot_data):
    figure = plots.curves(plot_data(epochs=4))
    assert "best: epoch 4" in [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
