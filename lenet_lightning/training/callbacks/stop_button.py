"""A fit in a notebook: its stop button ends it as its last step would have."""

import gc
import signal
import threading
from types import FrameType
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback


class StopButton(Callback):
    """End a fit after its step when the kernel is interrupted; the network keeps its weights, or their average.

    Lightning would raise SystemExit. A second interrupt is a KeyboardInterrupt as everywhere. Memory of earlier fits is
    freed before this one takes its own.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take the signal, and free what earlier fits left."""
        # a trainer, its model and its data name each other, so they stay until the collector runs: 41 MB a fit
        gc.collect()
        self._stopped = False
        self._before: Any = None
        # Python sets handlers in the main thread alone
        if stage != "fit" or threading.current_thread() is not threading.main_thread():
            return

        def stop(number: int, frame: FrameType | None) -> None:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._stopped = trainer.should_stop = True

        self._before = signal.signal(signal.SIGINT, stop)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the signal back; say what was stopped."""
        self._give_back()
        if self._stopped:
            print(f"stopped after step {trainer.global_step}: the network is as trained so far, fit again at will")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Give the signal back."""
        self._give_back()

    def _give_back(self) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None
