"""What a plain Trainer's fit has in a notebook's kernel."""

from lightning import Trainer
from lightning.pytorch.callbacks import Callback, ProgressBar, RichModelSummary, RichProgressBar

from lenet_lightning.training.callbacks.progress import EpochLines
from lenet_lightning.training.callbacks.stop_button import StopButton
from lenet_lightning.training.notebooks import in_kernel
from lenet_lightning.training.quiet import quiet_lightning

# Lightning's defaults, of which a notebook would save every state, and 6,000 characters before the first
REPLACED = (RichProgressBar, RichModelSummary)


def of_kernel(trainer: Trainer) -> list[Callback]:
    """Return the callbacks of a fit in a kernel, none elsewhere: the stop button, and a line for each epoch.

    Lightning's default bar and summary leave the trainer, and what it prints beside them is hidden from now on.
    """
    if not in_kernel():
        return []
    quiet_lightning()
    before: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]  # a connector of Lightning's sets it
    users = [each for each in before if type(each) not in REPLACED]
    trainer.callbacks = users  # type: ignore[attr-defined]  # as above
    bars = [each for each in before if isinstance(each, ProgressBar)]
    if not bars or type(bars[0]) not in (RichProgressBar, EpochLines):
        return [StopButton()]  # there is to be none, or it is one of the user's own
    return [StopButton(), EpochLines()]
