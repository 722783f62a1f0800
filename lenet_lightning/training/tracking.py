"""The W&B logger that needs no account."""

import os
import sys
from pathlib import Path
from typing import Any

import wandb
from lightning.pytorch.loggers import WandbLogger as LightningWandbLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

PROJECT = "lenet_lightning"
MODES = ("online", "offline", "disabled", "shared", "dryrun", "run")
INIT_TIMEOUT_S = 8  # of silence from the server; the client's own 90 would look like a hang


class WandbLogger(LightningWandbLogger):
    """Log to W&B when logged in, else to files that `wandb leet` shows and `wandb sync` sends later; never ask.

    WANDB_MODE, WANDB_PROJECT, WANDB_ENTITY, WANDB_TAGS, WANDB_NAME and the like are respected.

    Args:
        save_dir: folder of the files; the command line sets it to the run's.
        project: the project on W&B; WANDB_PROJECT, else lenet_lightning, unless given.
        name: the run's name on W&B; WANDB_NAME, else the run folder's, unless given.
        kwargs: what wandb.init takes: tags, group, notes, ...

    Raises:
        ValueError: WANDB_MODE is none of W&B's modes.
    """

    def __init__(self, save_dir: str = ".", project: str | None = None, name: str | None = None, **kwargs: Any) -> None:
        super().__init__(
            save_dir=save_dir,
            project=project or os.environ.get("WANDB_PROJECT") or PROJECT,
            name=name or os.environ.get("WANDB_NAME") or Path(save_dir).name,
            **{"mode": _mode()} | kwargs,
        )
        # Lightning passes on an argument that wandb is about to drop and warns of
        self._wandb_init.pop("anonymous", None)
        # our own lines tell what the client's chatter would; the console holds nothing that metrics do not
        self._wandb_init.setdefault("settings", wandb.Settings(silent=True, console="off", init_timeout=INIT_TIMEOUT_S))

    @rank_zero_only
    def close(self, failed: bool) -> None:
        """End the W&B run, with everything written (and, online, sent)."""
        if self._experiment is not None:
            self._experiment.finish(exit_code=int(failed))

    def where_to_look(self) -> list[str]:
        """Give the lines that tell a person how to look at this run."""
        if self._experiment is None or self._experiment.disabled:
            return []
        if not self._experiment.offline:
            return [f"W&B          {self._experiment.url}"]
        folder = os.path.relpath(Path(self._experiment.dir).parent)
        return [
            f"look at it   wandb leet {folder}",
            f"send to W&B  wandb login && wandb sync {folder}",
        ]


def _mode() -> str:
    mode = os.environ.get("WANDB_MODE")
    if mode and mode not in MODES:
        raise ValueError(
            f"WANDB_MODE must be one of {', '.join(MODES)}, got {mode!r}; unset it to let the login decide"
        )
    if mode:
        return mode
    try:
        return "online" if wandb.login(prompt=False, verify=False) else "offline"
    except wandb.errors.AuthenticationError:
        print("W&B: the stored key is malformed; this run is kept offline (mend it with: wandb login)", file=sys.stderr)
        return "offline"
