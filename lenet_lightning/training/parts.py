"""A training step on a CPU in parts, each in a thread of its own: quicker than one step that all threads share.

The operations of a small network are short, and torch's threads wait for each other after each of them. A part is a
share of the batch, forward and backward; the threads meet once, to add its gradients up.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from threading import Barrier
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.autograd import Function

from lenet_lightning.networks.hooks import has_hooks
from lenet_lightning.networks.lenet5 import LeNet5
from lenet_lightning.networks.pooling import AveragePool

Loss: TypeAlias = Callable[[Tensor, Tensor], Tensor]
Part: TypeAlias = tuple[Tensor, Tensor, tuple[Tensor | None, ...]]

# smaller parts take longer than one step of the whole
FEWEST_SAMPLES = 32

# of what a network may consist: what treats each sample by itself, draws no random numbers and keeps nothing
BY_SAMPLE = {LeNet5, nn.Conv2d, AveragePool, nn.AvgPool2d, nn.Flatten, nn.Linear}


def can_split(network: nn.Module, images: Tensor) -> bool:
    """Return whether a batch (N, ...) for this network gives the same in parts, and there are threads for them."""
    return (
        images.is_cpu
        and not images.requires_grad
        and _parts(images) > 1
        and torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and type(network) is LeNet5
        and all(type(module) in BY_SAMPLE and not has_hooks(module) for module in network.modules())
        and any(parameter.requires_grad for parameter in network.parameters())
        # a hook on a parameter would see the gradient of each part
        and not any(parameter._backward_hooks for parameter in network.parameters())
    )


def step(network: nn.Module, loss: Loss, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits (N, 10), without a gradient, and loss of a batch, cut into a part for each of torch's threads.

    The gradients are those of the whole batch but for rounding, and the same at each run with as many threads.

    Args:
        network: that `can_split` allows.
        loss: of logits and labels, a mean over the samples.
        images: (N, 1, 28, 28).
        labels: (N,).
    """
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return _InParts.apply(network, loss, images, labels, *parameters)


class _InParts(Function):
    """Forward and backward at once, with the gradients kept: to all that follows it is one operation of autograd."""

    @staticmethod
    def forward(
        ctx: Any, network: nn.Module, loss: Loss, images: Tensor, labels: Tensor, *parameters: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.network, ctx.loss = network, loss
        ctx.save_for_backward(images, labels, *parameters)
        count = _parts(images)
        # autocast is a thread's own; its cache is not, and would be cleared by the first thread that ends
        mixed = torch.is_autocast_enabled("cpu")
        autocast = {"dtype": torch.get_autocast_dtype("cpu"), "enabled": mixed, "cache_enabled": False}
        pool = _threads(count)
        futures = [
            pool.submit(_part, network, loss, *share, len(images), parameters, autocast)
            for share in zip(images.tensor_split(count), labels.tensor_split(count), strict=True)
        ]
        wait(futures)
        logits, losses, gradients = zip(*(future.result() for future in futures), strict=True)
        ctx.gradients = [_sum(of_parameter) for of_parameter in zip(*gradients, strict=True)]
        joined = torch.cat(logits)
        ctx.mark_non_differentiable(joined)
        return joined, sum(losses[1:], losses[0])

    @staticmethod
    def backward(ctx: Any, _: Tensor, scale: Tensor) -> tuple[Tensor | None, ...]:
        gradients = ctx.gradients
        if torch.is_grad_enabled():  # a second derivative is to follow, which needs a graph
            images, labels, *parameters = ctx.saved_tensors
            loss = ctx.loss(ctx.network(images), labels)
            gradients = torch.autograd.grad(loss, parameters, create_graph=True, allow_unused=True)
        return None, None, None, None, *(None if each is None else each * scale for each in gradients)


def _part(
    network: nn.Module,
    loss: Loss,
    images: Tensor,
    labels: Tensor,
    samples: int,
    parameters: tuple[Tensor, ...],
    autocast: dict[str, Any],
) -> Part:
    with torch.autocast("cpu", **autocast):
        logits = network(images)
        share = loss(logits, labels) * (len(images) / samples)
    return logits.detach(), share.detach(), torch.autograd.grad(share, parameters, allow_unused=True)


def _sum(gradients: tuple[Tensor | None, ...]) -> Tensor | None:
    known = [each for each in gradients if each is not None]
    return sum(known[1:], known[0]) if known else None


def _parts(images: Tensor) -> int:
    return min(torch.get_num_threads(), len(images) // FEWEST_SAMPLES)


@cache
def _threads(count: int) -> ThreadPoolExecutor:
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(count, "part", _alone)
    started = Barrier(count)
    wait([pool.submit(started.wait) for _ in range(count)])
    # torch takes the number set last for every thread that starts later
    torch.set_num_threads(threads)
    return pool


def _alone() -> None:
    # first asked, a thread takes the number that was set last anywhere, and would do so after this
    torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # dozens of times slower to work with


if hasattr(os, "register_at_fork"):
    # the threads stay behind
    os.register_at_fork(after_in_child=_threads.cache_clear)
