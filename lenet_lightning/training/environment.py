"""What a run is made with: versions, hardware, code and data."""

import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
import torchmetrics
import torchvision
import wandb

from lenet_lightning.data import files


def environment(samples: Sequence[files.IdxFile] | None = None) -> dict[str, Any]:
    """Return what can make two runs of one config differ, as plain values; `samples` are the files if not MNIST's."""
    packages = (torch, lightning, torchmetrics, torchvision, wandb)
    return {
        "threads": torch.get_num_threads(),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "versions": {"python": platform.python_version(), **{each.__name__: each.__version__ for each in packages}},
        "data_sha256": {file.name: file.sha256 for file in samples or files.FILES},
        **_code(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _code() -> dict[str, Any]:
    """Return the commit of this checkout and whether anything in it was changed since; nulls outside of a checkout."""

    def git(*arguments: str) -> str | None:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        try:
            # S603: nothing in the command comes from outside
            done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    if git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return {"git_commit": None, "git_clean": None}  # installed below somebody else's checkout
    changes = git("status", "--porcelain", "--untracked-files=no")
    return {"git_commit": git("rev-parse", "HEAD"), "git_clean": None if changes is None else not changes}
