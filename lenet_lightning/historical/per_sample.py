"""Stochastic gradient descent in the first sense: one optimizer step for each sample of a batch."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value

from lenet_lightning.historical.sdlm import SDLM, Loss


class PerSample:
    """Step through a batch with SDLM, sample by sample (or as many at a time as its `patterns`).

    For a single sample the work of Lightning and of autograd takes far longer than the arithmetic: so a batch is passed
    at a time, and a step can be compiled as a whole, with gradient and update.

    Args:
        network: what is trained.
        loss: a mean over samples of (logits, labels).
        compile: whether a step is compiled: the same step, up to rounding.
    """

    def __init__(self, network: nn.Module, loss: Loss, compile: bool) -> None:
        self._network = network
        self._loss = loss
        self._take = torch.compile(self._whole_step, dynamic=False) if compile else None

    def __call__(
        self, optimizer: SDLM, images: Tensor, labels: Tensor, estimate: Callable[[], None]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Step through a batch; `estimate` is called whenever the optimizer wants new curvatures.

        Returns:
            The logits (N, 10), each from before the step that its sample was for; of each step the loss times its
            samples, and the size of the gradient.
        """
        logits, losses, norms = [], [], []
        patterns = optimizer.param_groups[0]["patterns"]
        parameters = dict(self._network.named_parameters())
        weights = {name: parameter.detach() for name, parameter in parameters.items()}
        for few, theirs in zip(images.split(patterns), labels.split(patterns), strict=True):
            if optimizer.outdated:
                estimate()
            if self._take:
                damped = {name: optimizer.state[p]["damped_curvature"] for name, p in parameters.items()}
                rate = torch.tensor(optimizer.advance(), device=images.device)
                with torch.no_grad():
                    found, loss, norm = self._take(weights, damped, few, theirs, rate)
            else:
                found, loss, norm = self._eager_step(optimizer, few, theirs)
            logits.append(found)
            losses.append(loss * len(theirs))
            norms.append(norm)
        return torch.cat(logits), torch.stack(losses), torch.stack(norms)

    def _eager_step(self, optimizer: SDLM, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits = self._network(images)
        loss = self._loss(logits, labels)
        loss.backward()
        norm = nn.utils.get_total_norm(
            [weight.grad for weight in self._network.parameters() if weight.grad is not None]
        )
        optimizer.step()
        optimizer.zero_grad()
        return logits.detach(), loss.detach(), norm

    def _whole_step(
        self, weights: dict[str, Tensor], damped: dict[str, Tensor], images: Tensor, labels: Tensor, rate: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        def loss_of(weights: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            logits = functional_call(self._network, weights, images)
            return self._loss(logits, labels), logits

        gradients, (loss, logits) = grad_and_value(loss_of, has_aux=True)(weights)
        norm = torch.stack([gradient.square().sum() for gradient in gradients.values()]).sum().sqrt()
        for name, weight in weights.items():
            weight.sub_(rate * gradients[name] / damped[name])
        return logits, loss, norm
