"""The job that a training is part of, which may be stopped and started again: Slurm's, or torchrun's with restarts."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

from lenet_lightning import run_folders
from lenet_lightning.errors import RunError, one_line
from lenet_lightning.training import recorded, resume, runs

REQUEUE_S = 30  # for Slurm's answer


def name() -> str | None:
    """Return what ends the names of this job's run folders; None outside of a job that can start again."""
    if slurm := os.environ.get("SLURM_JOB_ID"):
        return f"slurm{slurm}"  # of an array, each task has its own
    if os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0":
        return f"torchrun-{os.environ.get('TORCHELASTIC_RUN_ID', 'none')}"
    return None


def find_run(root: Path, recipe: dict[str, Any], checkpoint: Path | None) -> tuple[Path | None, Path | None]:
    """Find the run to go on with: in a job that was started again its own, else that of the checkpoint asked for.

    Args:
        root: folder of all runs.
        recipe: of `resume.recipe_of`.
        checkpoint: that is asked for.

    Returns:
        The run's folder, None for a new run; and the checkpoint to resume from, None to begin with the first epoch.
    """
    if run := _run_before_restart(root, recipe):
        return run, last if (last := run / runs.LAST).is_file() else None
    known = checkpoint and (checkpoint.parent / "config.yaml").exists()
    return checkpoint.parent if checkpoint and known else None, checkpoint


def _run_before_restart(root: Path, recipe: dict[str, Any]) -> Path | None:
    # a job may train several runs, one after the other: its name alone does not name a run
    restarts = (os.environ.get(each, "0") for each in ("SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT"))
    job = name()
    if not job or all(count == "0" for count in restarts):
        return None
    of_job = re.compile(rf".+-{re.escape(runs.plain(job))}(-\d+)?")
    begun = [run for run in run_folders.below(root) if of_job.fullmatch(run.name) and _recipe(run) == recipe]
    return begun[-1] if begun else None


def _recipe(run: Path) -> dict[str, Any] | None:
    try:
        return resume.recipe_of(recorded.read(run / "config.yaml"))
    except (RunError, KeyError, TypeError, ValueError):  # nothing was begun in it, or by another version
        return None


def requeue() -> None:
    """Let Slurm stop this job and start it again later, which goes on from the last whole epoch; warn if it refuses."""
    job = os.environ["SLURM_JOB_ID"]
    try:
        done = subprocess.run(  # noqa: S603 - our own arguments
            ["scontrol", "requeue", job],  # noqa: S607 - wherever this cluster has it
            capture_output=True,
            text=True,
            timeout=REQUEUE_S,
        )
        refusal = (done.stderr or done.stdout or f"exit code {done.returncode}") if done.returncode else ""
    except (OSError, subprocess.SubprocessError) as error:
        refusal = str(error)
    if refusal:
        runs.warn(f"Slurm will end job {job} soon and does not requeue it ({one_line(refusal)}); the training goes on")
