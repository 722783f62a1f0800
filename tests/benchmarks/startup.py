"""How long commands take to start, in processes of their own, in turn.

    python -m tests.benchmarks.startup

The yardstick is `import lightning.pytorch` with reading the 60,000 digits. `fit` counts to the end of its first step.
Five rounds; kept in runs/benchmarks/startup.json.
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lightning.pytorch.callbacks import Callback

ROUNDS = 5
ROOT = Path(__file__).parents[2]
OURS = ("-m", "lenet_lightning")
FIT = (*OURS, "fit", "--config", "configs/default.yaml", "--trainer.callbacks+=tests.benchmarks.startup.OneStep")
YARDSTICK = "import lightning.pytorch, and read the digits"
READING = "import lightning.pytorch; from torchvision.datasets import MNIST; MNIST('data')"
COMMANDS = {
    "--version": (*OURS, "--version"),
    "--help": (*OURS, "--help"),
    "import torch": ("-c", "import torch"),
    YARDSTICK: ("-c", READING),
    "fit to its first step, without W&B": (*FIT, "--trainer.logger", "false"),
    "fit to its first step, W&B offline": FIT,
    "predict one picture": (*OURS, "predict", "{}/one.png"),
    "predict one picture, weights from ONNX": (*OURS, "predict", "{}/one.png", "--weights", "{}/lenet5.onnx"),
}


class OneStep(Callback):
    """End the process after its first step."""

    def on_train_batch_end(self, *_: Any) -> None:
        """End it as it is."""
        os._exit(0)


def main() -> None:
    from torchvision.datasets import MNIST

    from lenet_lightning.data.download import fetch
    from tests.benchmarks import kept, tables

    fetch(ROOT / "data")
    done = {(row["command"], row["round"]) for row in kept.read("startup")}
    with TemporaryDirectory() as folder:
        MNIST(str(ROOT / "data"))[0][0].save(f"{folder}/one.png")
        export = (*OURS, "export", "--format", "onnx", "--output", f"{folder}/lenet5.onnx")
        subprocess.run([sys.executable, *export], check=True, cwd=ROOT)
        for number in range(1, ROUNDS + 1):
            for name, command in COMMANDS.items():
                if (name, number) in done:
                    continue
                runs = ["--trainer.default_root_dir", folder] if "fit" in command else []
                words = [word.format(folder) for word in command] + runs
                started = time.perf_counter()
                environment = os.environ | {"WANDB_MODE": "offline"}
                subprocess.run([sys.executable, *words], check=True, cwd=ROOT, env=environment, capture_output=True)
                seconds = time.perf_counter() - started
                kept.add("startup", {"command": name, "round": number, "seconds": round(seconds, 3)})

    print(tables.startup(kept.read))


if __name__ == "__main__":
    main()
