"""The runs on a terminal dashboard, without an account: `wandb leet` on the right files."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from lenet_lightning import run_folders
from lenet_lightning.arguments import Parser
from lenet_lightning.errors import RunError, UsageError, pasted


def main(args: list[str]) -> int:
    """Show a run, or all of them side by side; print a summary where there is no terminal.

    Raises:
        UsageError: there is no such run, or it was not logged to W&B.
        RunError: the dashboard failed.
    """
    parser = Parser("dashboard", main.__doc__)
    parser.add_argument("run", nargs="?", help="a run's folder, or `all`; the newest run unless given")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="the folder of all runs (default: runs)")
    options = parser.parse_args(args)
    files = _tracked(options.run, options.runs)
    if not sys.stdout.isatty():
        code = max(_leet("inspect", "--summary", str(file)) for file in files)
    elif len(files) == 1:
        code = _leet(str(files[0]))
    else:
        with tempfile.TemporaryDirectory() as together:
            # the client browses runs in one folder; here each has its own
            for file in files:
                _link(Path(together) / file.parent.name, file.parent.resolve())
            code = _leet(together)
    offline = [str(file.parent) for file in files if file.parent.name.startswith("offline-run-")]
    if offline:
        print(f"to see it on W&B: wandb login && wandb sync {' '.join(map(pasted, offline))}")
    if code:
        raise RunError(f"wandb leet ended with exit code {code}")
    return 0


def _tracked(run: str | None, root: Path) -> list[Path]:
    """Return the W&B files of the runs asked for, oldest first."""
    pattern = "wandb/*run-*/*.wandb"
    folder = root if run in (None, "all") else Path(run)
    if not folder.is_dir():
        raise UsageError(f"{folder}: must be a run's folder, or `all`; there is none (train one with `fit`)")
    if run is None:
        files = list(filter(None, [run_folders.newest(root, pattern)]))
    else:
        folders = run_folders.below(root) if run == "all" else [folder]
        files = sorted((file for each in folders for file in each.glob(pattern)), key=os.path.getmtime)
    if not files:
        raise UsageError(f"{folder}: has no W&B files; its metrics are in metrics.csv, its pictures in pictures/")
    return files


def _link(link: Path, run: Path) -> None:
    try:
        link.symlink_to(run)
    except OSError as error:
        raise RunError(
            f"{link.parent}: must take links, to show all runs, got: {error.strerror}; name one run, or set TMPDIR to "
            "another folder"
        ) from error


def _leet(*arguments: str) -> int:
    command = [sys.executable, "-m", "wandb", "leet", *arguments]
    return subprocess.run(command, check=False).returncode  # noqa: S603 - our own arguments
