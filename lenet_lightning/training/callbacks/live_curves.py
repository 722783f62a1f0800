"""Loss and accuracy in a notebook, drawn anew after each epoch in the same place."""

from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from lenet_lightning.evaluation import plots


class LiveCurves(Callback):
    """Show the curves of a training below its cell, from the first epoch to the last one.

    Attributes:
        rows: of the epochs so far, as `plots.curves` takes them.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget an earlier training."""
        self.rows: list[dict[str, float]] = []
        self._shown: Any = None
        self._complete: int | None = None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the epoch before: its metrics are complete only now."""
        self._draw(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that an epoch is finished."""
        self._complete = trainer.current_epoch + 1

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the last epoch."""
        self._draw(trainer)

    def _draw(self, trainer: Trainer) -> None:
        if self._complete is None:
            return
        from IPython.display import display  # only a notebook has it

        self.rows.append({name: float(value) for name, value in trainer.callback_metrics.items()})
        self.rows[-1]["epoch"] = self._complete
        self._complete = None
        figure = plots.curves(self.rows)
        if self._shown:
            self._shown.update(figure)
        else:
            self._shown = display(figure, display_id=True)  # type: ignore[no-untyped-call]  # IPython has few types
