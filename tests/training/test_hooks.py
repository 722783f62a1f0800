"""Empty hooks are passed over, others are not."""

import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch.utils.data import DataLoader, TensorDataset

from lenet_lightning.training import hooks


class Watching(Callback):
    def __init__(self):
        self.called = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.called.append(("end", batch_idx))

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.called.append(("step", trainer.global_step))


class Line(LightningModule):
    def __init__(self):
        super().__init__()
        self.line = torch.nn.Linear(1, 1)
        self.begun = []

    def on_train_batch_start(self, batch, batch_idx):
        self.begun.append(batch_idx)

    def training_step(self, batch, batch_idx):
        return self.line(batch[0]).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.filterwarnings("ignore")  # Lightning's own on short epochs
def test_what_is_overridden_is_called_and_what_is_empty_is_not(monkeypatch):
    watching, module = Watching(), Line()
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(
        max_epochs=1, accelerator="cpu", enable_model_summary=False, callbacks=[watching, Callback()], **quiet
    )
    hooks.skip_empty(trainer, module)
    asked = []
    monkeypatch.setattr(trainer.profiler, "start", asked.append)
    trainer.fit(module, DataLoader(TensorDataset(torch.ones(3, 1)), batch_size=1))
    assert module.begun == [0, 1, 2]
    assert watching.called == [("step", 0), ("end", 0), ("step", 1), ("end", 1), ("step", 2), ("end", 2)]
    in_steps = {name.split(".")[0] for name in asked if name.endswith(hooks.IN_EACH_STEP)}
    assert in_steps == {"[LightningModule]Line", "[Callback]Watching"}
