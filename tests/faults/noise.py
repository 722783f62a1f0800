"""Randomness like dropout's: drawn from the global generators at every step."""

import os
import random
import time
from hashlib import sha256

import numpy as np
import torch
from lightning.pytorch.callbacks import Callback


class Noise(Callback):
    def on_after_backward(self, trainer, pl_module):
        strength = 0.01 * random.random() * np.random.rand()
        for weights in pl_module.network.parameters():
            if weights.requires_grad:  # FrozenFirstLayer's are not trained any more
                weights.grad += strength * torch.randn_like(weights)


class NoiseAndPause(Noise):
    """Stand still in the second epoch of the process whose number the environment has."""

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == 1 and os.environ.get("PAUSE") == str(trainer.global_rank):
            time.sleep(60)


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


class Watch(Callback):
    """Write down, for each process, which digits it trained on and what it ended with."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        with open(f"seen-{trainer.global_rank}", "a") as file:
            for image in batch[0]:
                print(trainer.current_epoch, sha256(image.numpy().tobytes()).hexdigest(), file=file)

    def on_train_end(self, trainer, pl_module):
        whole = b"".join(values.numpy().tobytes() for values in pl_module.state_dict().values())
        with open(f"ended-{trainer.global_rank}", "w") as file:
            file.write(sha256(whole).hexdigest())


class SpoilTheEnd(Callback):
    """Forget everything at the last step of each epoch, after its last validation."""

    def on_train_batch_end(self, trainer, pl_module, *_):
        if trainer.is_last_batch:
            for weights in pl_module.parameters():
                weights.data.zero_()


class Slow(Callback):
    """Take 20 ms more for each step."""

    def on_train_batch_end(self, trainer, pl_module, *_):
        time.sleep(0.02)
