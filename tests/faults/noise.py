"""Randomness like dropout's: drawn from the global generators at every step."""

import random

import numpy as np
import torch
from lightning.pytorch.callbacks import Callback


class Noise(Callback):
    def on_after_backward(self, trainer, pl_module):
        strength = 0.01 * random.random() * np.random.rand()
        for weights in pl_module.network.parameters():
            weights.grad += strength * torch.randn_like(weights)


class Spoil(Callback):
    """Forget everything at the end of each epoch but the first."""

    def on_train_batch_end(self, trainer, pl_module, *_):
        if trainer.current_epoch:
            for weights in pl_module.parameters():
                weights.data.zero_()


class Losses(Callback):
    """Write each step's loss, exactly, to a file."""

    def on_train_batch_end(self, trainer, pl_module, outputs, *_):
        with open("losses", "a") as file:
            print(outputs["loss"].item().hex(), file=file)
