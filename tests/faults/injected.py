"""Faults at an exact place of a run: each is set up in a process of its own before its command line is run."""

import os
import signal

import torch.nn.functional as F

from lenet_lightning import atomic
from lenet_lightning.data.mnist import ResidentDigits


def kill_at_batch(number):
    """Die while the batch of this number (from 1) is gathered."""
    gather, seen = ResidentDigits.__getitems__, [0]

    def dying(self, indices):
        if len(indices) < 1000:  # a batch of training
            seen[0] += 1
            if seen[0] == number:
                os.kill(os.getpid(), signal.SIGKILL)
        return gather(self, indices)

    ResidentDigits.__getitems__ = dying


def kill_in_save(number):
    """Die at this fsync: odd ones come before a file takes its place, even ones after."""
    fsync, seen = atomic._fsync, [0]

    def dying(*args):
        seen[0] += 1
        if seen[0] == number:
            os.kill(os.getpid(), signal.SIGKILL)
        fsync(*args)

    atomic._fsync = dying


def break_loss(step, value):
    """Make the loss of this step (from 1) `value`."""
    cross_entropy, seen = F.cross_entropy, [0]

    def broken(logits, labels, **settings):
        loss = cross_entropy(logits, labels, **settings)
        if logits.requires_grad:
            seen[0] += 1
            if seen[0] == step:
                return loss * float(value)
        return loss

    F.cross_entropy = broken
