"""The test samples that nearly all of some networks miss, as a picture and as figures.

    python -m tests.benchmarks.errors runs/targets/99.6/*/2*/weights.safetensors ...

Kept in runs/benchmarks/errors.json; the picture is written to docs/errors.png.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lenet_lightning import Recognizer
from lenet_lightning.data import files
from lenet_lightning.data.download import fetch
from tests.benchmarks import kept

NEARLY_ALL = 0.9
# Northcutt, Athalye and Mueller, "Pervasive Label Errors in Test Sets Destabilize Machine Learning Benchmarks" (2021):
# of five people each, at most two saw the label's digit in these test samples
VOTED_WRONG = frozenset({947, 1621, 1901, 2130, 2462, 2597, 2654, 3520, 3558, 5937, 6651, 6783, 8527, 9679, 9729})
COLUMNS = 10


def missed(predicted: np.ndarray, labels: np.ndarray) -> list[dict[str, Any]]:
    """Return the samples that nearly all of some networks miss, those that most miss first.

    Args:
        predicted: (networks, samples), digits.
        labels: (samples,).
    """
    share = (predicted != labels).mean(0)
    found = sorted(np.flatnonzero(share >= NEARLY_ALL).tolist(), key=lambda index: (-share[index], index))
    rows = []
    for index in found:
        wrong = predicted[:, index][predicted[:, index] != labels[index]]
        answer = int(np.bincount(wrong).argmax())
        rows.append(
            {
                "index": index,
                "label": int(labels[index]),
                "answer": answer,
                "answer_share": round(float((predicted[:, index] == answer).mean()), 3),
                "missed_share": round(float(share[index]), 3),
                "networks": len(predicted),
                "voted_wrong": index in VOTED_WRONG,
            }
        )
    return rows


def draw(rows: list[dict[str, Any]], images: np.ndarray) -> Figure:
    """Draw the samples with label and most frequent answer; those whose labels people doubt, too, in orange."""
    high = max(1, -(-len(rows) // COLUMNS))
    figure = Figure((1.15 * COLUMNS, 1.5 * high), layout="constrained")
    grid = np.atleast_2d(figure.subplots(high, COLUMNS))
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, row in zip(grid.flat, rows, strict=False):
        axes.imshow(images[row["index"]], cmap="Greys")
        colour = "#D55E00" if row["voted_wrong"] else "black"
        axes.set_title(f"{row['index']}\n{row['label']}, predicted {row['answer']}", fontsize=8, color=colour)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, nargs="+")
    parser.add_argument("--root", type=Path, default=Path("data"))
    args = parser.parse_args()
    fetch(args.root)
    images, labels = (files.read_idx(args.root / "MNIST" / "raw" / file.name, file) for file in files.FILES[2:])
    predicted = np.stack([Recognizer(each).logits(images).argmax(1) for each in args.weights])
    rows = missed(predicted, labels)
    (kept.WORK / "errors.json").unlink(missing_ok=True)
    for row in rows:
        kept.add("errors", row)
    draw(rows, images).savefig(kept.ROOT / "docs" / "errors.png", dpi=110)
    wrong = (predicted != labels).sum(1)
    print(f"{len(predicted)} networks, {wrong.min()} to {wrong.max()} errors each, {wrong.mean():.1f} on average")
    print(f"{len(rows)} samples are missed by {NEARLY_ALL:.0%} of them or more", end=", ")
    print(f"{sum(row['voted_wrong'] for row in rows)} of which people doubt, too, of their {len(VOTED_WRONG)}")
    for row in rows:
        print(*row.values())


if __name__ == "__main__":
    main()
