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
