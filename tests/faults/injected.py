"""Faults at an exact place of a run: each is set up in a process of its own before its command line is run."""

import ctypes
import math
import os
import signal
import time

import torch
import torch.nn.functional as F
from lightning.pytorch.accelerators import CUDAAccelerator

from lenet_lightning import atomic
from lenet_lightning.data.dataset import ResidentDigits
from lenet_lightning.training.classifier import DigitClassifier
from lenet_lightning.training.loggers.wandb import WandbLogger
from tests.faults.noise import Noise


def noise():
    """Make each gradient noisy by what is drawn from the global random generators, as dropout would."""
    DigitClassifier.on_after_backward = lambda module: Noise().on_after_backward(None, module)


def at_batch(number, happens):
    """Let something happen while the batch of this number (from 1) is gathered for training."""
    gather, seen = ResidentDigits.__getitems__, [0]

    def gathering(self, indices):
        if len(indices) < 1000:  # a batch of training
            seen[0] += 1
            if seen[0] == number:
                happens()
        return gather(self, indices)

    ResidentDigits.__getitems__ = gathering


def kill_at_batch(number):
    """Die while the batch of this number (from 1) is gathered."""
    at_batch(number, lambda: os.kill(os.getpid(), signal.SIGKILL))


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


def slow_batches(seconds, size):
    """Take this long to gather each batch of `size` digits."""
    gather = ResidentDigits.__getitems__

    def slow(self, indices):
        if len(indices) == size:
            time.sleep(seconds)
        return gather(self, indices)

    ResidentDigits.__getitems__ = slow


def hang_at_the_end():
    """Never come back from ending the W&B run."""
    WandbLogger.close = lambda self, failed: time.sleep(1000)
    WandbLogger.log_hyperparams = lambda self, params: None


def break_weights(step):
    """Make the gradient of this step (from 1) infinite, its loss being finite."""
    norm, seen = torch.nn.utils.get_total_norm, [0]

    def broken(gradients):
        seen[0] += 1
        if seen[0] == step:
            gradients[0].fill_(math.inf)
        return norm(gradients)

    torch.nn.utils.get_total_norm = broken


def as_nobody():
    """Lose root's right to write everywhere."""
    os.seteuid(65534)


def touch(*_args, **_settings):
    """Leave a mark: this was executed."""
    with open("executed", "w"):
        pass


def break_loss_on_a_device(step, value):
    """Do so where a tensor's value cannot be had at once."""
    torch.Tensor.is_cpu = property(lambda self: False)
    break_loss(step, value)


def hang_in_c(number):
    """Hang at the batch of this number (from 1) in C code, where no Python handler of a signal runs."""
    at_batch(number, never_return)


def never_return():
    """Lock a mutex twice; the system resumes the wait after each signal."""
    mutex = ctypes.create_string_buffer(128)  # zeros: one that is not locked
    for _ in range(2):
        ctypes.CDLL(None).pthread_mutex_lock(mutex)


def slow_goodbye(seconds):
    """Take this long to end the W&B run, and say when it is done."""
    WandbLogger.log_hyperparams = lambda self, params: None
    WandbLogger.close = lambda self, failed: (time.sleep(seconds), print("closed", flush=True))


def beside_slurm_and_a_gpu(folder):
    """Find the programs of `folder` first, and take the machine for one with a GPU."""
    os.environ["PATH"] = os.pathsep.join([os.path.abspath(folder), os.environ["PATH"]])
    CUDAAccelerator.is_available = staticmethod(lambda: True)
