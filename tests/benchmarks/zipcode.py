"""The reader of rows: its weights, how many it reads right, what must be rejected, and whether it claims what is true.

    python -m lenet_lightning fit --config configs/zipcode.yaml
    python -m tests.benchmarks.zipcode weights runs/latest runs/rows.safetensors
    python -m lenet_lightning fit --config configs/zipcode_neat.yaml --model.weights runs/rows.safetensors
    python -m tests.benchmarks.zipcode weights runs/latest lenet_lightning/rows/rows.safetensors
    python -m tests.benchmarks.zipcode judge

The temperature of the weights is chosen on rows of validation digits, so that readings are as probable as they claim.
`judge` reads rows of five test digits, which the reader has never seen, nor how many digits they have; it keeps the
figures in runs/benchmarks/zipcode.json.
"""

import argparse
import hashlib
import time
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from lenet_lightning import weights
from lenet_lightning.data.dataset import ResidentDigits, split
from lenet_lightning.rows import decoding
from lenet_lightning.rows.reader import RowReader, string_scores
from lenet_lightning.rows.style import KINDS
from lenet_lightning.training.checkpoints import read_checkpoint
from lenet_lightning.zipcode.datamodule import PER_KIND, judged
from lenet_lightning.zipcode.metrics import rejected
from tests.benchmarks import kept

DATA = kept.ROOT / "data"
VALIDATION = 5_000, 0  # digits, and the seed of the split, as in the data module
MANY, MANY_SEED = 1_000, 1989  # rows of each kind for the figures that need many
TEMPERATURES = np.arange(0.7, 1.81, 0.1)
BOUNDS = (0, 0.5, 0.8, 0.9, 0.95, 0.99, 0.999, 1.0)  # of what is claimed
RESAMPLED = 1_000


def strings(rows: ResidentDigits) -> list[str]:
    """Return the digits of rows."""
    return ["".join(str(digit) for digit in row if digit != decoding.NO_DIGIT) for row in rows.labels.tolist()]


def read(reader: RowReader, rows: ResidentDigits) -> tuple[Tensor, Tensor]:
    """Return what the reader claims for each row (N,), and whether it is right (N,)."""
    readings = reader.read([image[0].numpy() for image in rows.images])
    right = [str(reading) == truth for reading, truth in zip(readings, strings(rows), strict=True)]
    return torch.tensor([reading.probability for reading in readings]), torch.tensor(right)


def temperature(reader: RowReader, rows: ResidentDigits) -> float:
    """Return the temperature at which the claims for rows are least surprised by what is true (in nats)."""
    reader.temperature = 1.0
    strips = [image[0].numpy() for image in rows.images]
    logits = [views for at in range(0, len(strips), 20) for views in reader.views(strips[at : at + 20])]
    # the string hardly depends on it: it is read once
    found = [str(reading) for reading in reader.read(strips)]
    right = torch.tensor([a == b for a, b in zip(found, strings(rows), strict=True)])
    surprise = []
    for each in TEMPERATURES:
        of = [string_scores(views / each, [tuple(map(int, s))]) for views, s in zip(logits, found, strict=True)]
        claimed = torch.cat(of).exp().clamp(1e-9, 1 - 1e-9)
        surprise.append(-torch.where(right, claimed.log(), (1 - claimed).log()).mean().item())
    return round(float(TEMPERATURES[int(np.argmin(surprise))]), 2)


def calibration(claimed: Tensor, right: Tensor) -> list[dict[str, float]]:
    """Return the rows whose claim is between each two BOUNDS: how many, the mean claim, the fraction that is right."""
    table = []
    for low, high in pairwise(BOUNDS):
        of = (claimed >= low) & ((claimed < high) | (high == BOUNDS[-1]))
        if of.any():
            mean, true = claimed[of].mean().item(), right[of].double().mean().item()
            table.append({"from": low, "to": high, "rows": int(of.sum()), "claimed": mean, "right": true})
    return table


def rejection(claimed: Tensor, right: Tensor) -> list[float]:
    """Return the fraction to reject for 1 % wrong among the rest, and its 95 % interval by resampled rows."""
    draw = torch.Generator().manual_seed(0)
    chosen = [torch.randint(len(right), (len(right),), generator=draw) for _ in range(RESAMPLED)]
    values = [rejected(claimed[each], right[each]) for each in chosen]
    return [rejected(claimed, right), *np.quantile(values, [0.025, 0.975]).tolist()]


def wilson(right: int, count: int) -> list[float]:
    """Return the 95 % interval of a fraction."""
    z, p = 1.96, right / count
    middle, half = p + z * z / (2 * count), z * (p * (1 - p) / count + z * z / (4 * count**2)) ** 0.5
    return [(middle - half) / (1 + z * z / count), (middle + half) / (1 + z * z / count)]


def weigh(run: Path, target: Path) -> None:
    """Write the weights of a run's last epoch, whose validation loss is the lowest, with their temperature."""
    checkpoint = read_checkpoint(run / "last.ckpt")
    state = {name.removeprefix("network."): values.contiguous() for name, values in checkpoint["state_dict"].items()}
    metadata = {"network": "lenet5_swept", "parameters": sum(values.numel() for values in state.values())}
    with TemporaryDirectory() as folder:
        plain = Path(folder, "weights.safetensors")
        weights.write(state, metadata, plain)
        reader = RowReader(plain)
    chosen = ResidentDigits.read(DATA, train=True).subset(split(*VALIDATION)[0])
    metadata["temperature"] = temperature(reader, judged(chosen, PER_KIND["val"]))
    weights.write(state, metadata, target)
    print(f"temperature {metadata['temperature']}, sha256 {hashlib.sha256(target.read_bytes()).hexdigest()}")


def judge() -> None:
    """Read rows of test digits with the shipped weights, and keep the figures."""
    reader = RowReader()
    test = ResidentDigits.read(DATA, train=False)
    rows = judged(test, PER_KIND["test"])
    start = time.process_time()
    _, right = read(reader, rows)
    seconds = time.process_time() - start
    claimed, exact = read(reader, judged(test, MANY, MANY_SEED))
    kinds = {}
    for kind, of, many, sure in zip(KINDS, right.chunk(4), exact.chunk(4), claimed.chunk(4), strict=True):
        kinds[kind] = {
            "rows": len(of),
            "right": int(of.sum()),
            "many": len(many),
            "many_right": int(many.sum()),
            "interval": wilson(int(many.sum()), len(many)),
            "rejected": rejection(sure, many),
        }
        print(kind, kinds[kind])
    figures = {"seconds_of_100_rows": 100 * seconds / len(rows), "kinds": kinds}
    kept.add("zipcode", figures | {"calibration": calibration(claimed, exact), "rejected": rejection(claimed, exact)})
    print(kept.read("zipcode")[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    taken = commands.add_parser("weights")
    taken.add_argument("run", type=Path)
    taken.add_argument("target", type=Path)
    commands.add_parser("judge")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.command == "weights":
        weigh(args.run, args.target)
    else:
        judge()


if __name__ == "__main__":
    main()
