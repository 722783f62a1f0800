"""A plain Trainer over a few samples, with nothing of the command line."""

import pytest
import torch
from lightning import Trainer
from torch.utils.data import DataLoader, TensorDataset


def sgd(lr):
    return lambda params: torch.optim.SGD(params, lr=lr, momentum=0.9)


QUIET = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated"),
]


def fit(model, digits, epochs, batch_size=20, callbacks=(), ckpt_path=None, **settings):
    loader = DataLoader(TensorDataset(*digits), batch_size)
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        callbacks=list(callbacks),
        **({"enable_checkpointing": False} | settings),
    )
    trainer.fit(model, loader, loader, ckpt_path=ckpt_path)
    return trainer


PLAIN = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False)
