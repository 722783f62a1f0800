"""The runs on a terminal dashboard, without an account: `wandb leet` on the right files."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from lenet_lightning import run_folders
from lenet_lightning.arguments import Parser
from lenet_lightning.errors import RunError, UsageError, pasted
from lenet_lightning.training import comparison

# what a reviewer looks at first, of a dozen charts in the order of the alphabet
FIRST = "^(train|val)/(acc|loss)$"


def main(args: list[str]) -> int:
    """Show runs side by side; where there is no terminal, print a run's summary, or in what several differ.

    Raises:
        UsageError: there is no such run, or it was not logged to W&B.
        RunError: the dashboard failed.
    """
    parser = Parser("dashboard", main.__doc__)
    parser.add_argument("run", nargs="*", help="folders of runs, or `all`; the newest run unless given")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="the folder of all runs (default: runs)")
    options = parser.parse_args(args)
    files = _tracked(options.run, options.runs)
    runs = list(dict.fromkeys(file.parents[2] for file in files))
    if sys.stdout.isatty():
        code = _draw(files)
    elif len(runs) == 1:
        code = max(_leet("inspect", "--summary", str(file)) for file in files)
    else:
        code = 0
        table = comparison.overview(runs) if options.run == ["all"] else comparison.differences(runs)
        Console(width=max(80, 40 * len(runs) + 60), soft_wrap=True).print(table)
    offline = [str(file.parent) for file in files if file.parent.name.startswith("offline-run-")]
    if offline:
        print(f"to see it on W&B: wandb login && wandb sync {' '.join(map(pasted, offline))}")
    if code:
        raise RunError(f"wandb leet ended with exit code {code}")
    return 0


def _tracked(runs: list[str], root: Path) -> list[Path]:
    """Return the W&B files of the runs asked for, oldest first."""
    pattern = "wandb/*run-*/*.wandb"
    every = runs == ["all"]
    folders = [Path(run) for run in runs] if runs and not every else [root]
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"{folder}: must be a run's folder, or `all`; there is none (train one with `fit`)")
    if not runs:
        found = [list(filter(None, [run_folders.newest(root, pattern)]))]
    else:
        folders = run_folders.below(root) if every else folders
        found = [list(folder.glob(pattern)) for folder in folders]
    for folder, files in zip(folders, found, strict=False):
        if not files and not every:
            raise UsageError(f"{folder}: has no W&B files; its metrics are in metrics.csv, its pictures in pictures/")
    if not any(found):
        raise UsageError(f"{root}: has no run with W&B files; metrics are in metrics.csv, pictures in pictures/")
    return sorted((file for files in found for file in files), key=os.path.getmtime)


def _draw(files: list[Path]) -> int:
    with tempfile.TemporaryDirectory() as together:
        # the client browses the runs of one folder, by its names for them; here each has its own
        for file in files:
            begun = file.parent.name.partition("run-")[2].rpartition("-")[0]
            label = comparison.label(file.parents[2])
            _link(Path(together) / f"run-{begun}-{label}", file, label)
        Path(together, ".wandb-leet.json").write_text(json.dumps({"metrics_filter": {"query": FIRST}}))
        return _leet(together)


def _link(folder: Path, file: Path, label: str) -> None:
    try:
        folder.mkdir()
        (folder / f"run-{label}.wandb").symlink_to(file.resolve())
        (folder / "files").symlink_to((file.parent / "files").resolve())
    except OSError as error:
        raise RunError(
            f"{folder.parent}: must take links, to show runs, got: {error.strerror}; set TMPDIR to another folder"
        ) from error


def _leet(*arguments: str) -> int:
    command = [sys.executable, "-m", "wandb", "leet", *arguments]
    return subprocess.run(command, check=False).returncode  # noqa: S603 - our own arguments
