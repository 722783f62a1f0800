"""Images per second, the latency of one, and memory: torch and ONNX Runtime, each in a process of its own.

    python -m tests.benchmarks.inference

Bytes to logits, by `Recognizer`, of MNIST's training digits; the bare network over normalised tensors beside it. Five
rounds in turn; kept in runs/benchmarks/inference.json.
"""

import json
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

ROUNDS = 5
IMAGES, SINGLES = 20_000, 500
ROOT = Path(__file__).parents[2]
BARE, TORCH, ONNX = "bare network", "Recognizer, torch", "Recognizer, ONNX Runtime"


def measure(kind: str, weights: str) -> dict[str, float]:
    """Measure in this process."""
    from lenet_lightning.data import files

    images = files.training_images(ROOT / "data")[:IMAGES]
    if kind == BARE:
        import torch

        from lenet_lightning import LeNet5
        from lenet_lightning.weights import SHIPPED, load

        network, _ = load(SHIPPED)
        batches = torch.from_numpy(images).unsqueeze(1).float().div(255).sub(LeNet5.MEAN).div(LeNet5.STD).split(256)
        singles = batches[0].split(1)

        def many() -> None:
            with torch.inference_mode():
                for batch in batches:
                    network(batch)

        def one(number: int) -> None:
            with torch.inference_mode():
                network(singles[number % 256])
    else:
        from lenet_lightning import Recognizer

        recognizer = Recognizer(weights) if kind == ONNX else Recognizer()

        def many() -> None:
            recognizer.logits(images)

        def one(number: int) -> None:
            recognizer.logits(images[number : number + 1])

    one(0)
    many()
    started = time.perf_counter()
    many()
    rate = IMAGES / (time.perf_counter() - started)
    latencies = []
    for number in range(SINGLES):
        started = time.perf_counter()
        one(number)
        latencies.append(time.perf_counter() - started)
    return {
        "images_per_s": round(rate),
        "latency_us": round(1e6 * statistics.median(latencies), 1),
        "memory_mb": round(most_memory_kb() / 1024),
    }


def most_memory_kb() -> int:
    """Return the most memory that this process has had; `ru_maxrss` would count what its parent had when it began."""
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])


def main() -> None:
    from lenet_lightning.data.download import fetch
    from tests.benchmarks import kept, tables

    fetch(ROOT / "data")
    done = {(row["kind"], row["round"]) for row in kept.read("inference")}
    with TemporaryDirectory() as folder:
        weights = f"{folder}/lenet5.onnx"
        export = ["-m", "lenet_lightning", "export", "--format", "onnx", "--output", weights]
        subprocess.run([sys.executable, *export], check=True, cwd=ROOT)
        for number in range(1, ROUNDS + 1):
            for kind in (BARE, TORCH, ONNX):
                if (kind, number) in done:
                    continue
                command = [sys.executable, "-m", "tests.benchmarks.inference", kind, weights]
                printed = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True).stdout
                kept.add("inference", {"kind": kind, "round": number} | json.loads(printed))

    print(tables.inference(kept.read))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(*sys.argv[1:])))
    else:
        main()
