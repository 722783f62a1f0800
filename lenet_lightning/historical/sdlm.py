"""Stochastic diagonal Levenberg-Marquardt, the optimizer of 1998: a rate for each weight by its curvature."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import grad
from torch.func import functional_call, vjp
from torch.optim import Optimizer

from lenet_lightning.networks.layers import EuclideanRBF, SparseConv2d, Squash, Subsampling

PATTERNS = 500  # from which the curvature is estimated before each pass

# the paper's global rates: 2 passes, 3, 3, 4 and all that follow
PASS_RATES = (5e-4,) * 2 + (2e-4,) * 3 + (1e-4,) * 3 + (5e-5,) * 4 + (1e-5,)

WEIGHTED = (nn.Conv2d, nn.Linear, SparseConv2d, Subsampling)

Loss = Callable[[Tensor, Tensor], Tensor]


class SDLM(Optimizer):
    """Stochastic diagonal Levenberg-Marquardt (LeCun et al. 1998, appendix C).

    Each weight k moves by its gradient times lr / (mu + h_k), h_k its curvature; `estimate` has to be called before the
    first step and, in the paper, before each pass. The paper takes one sample ("pattern") at a time. With B samples in
    a step the gradient is their mean: B steps from the same weights are one step with B times the lr.

    Args:
        params: the weights.
        lr: the global rate, eta.
        mu: what keeps the rate finite where the curvature is small.
        rise: steps in which the rate rises evenly to lr / (mu + h_k), the curvature being estimated ten times. The
            paper has none. Weights of +-2.4 / fan-in have next to no curvature yet: full rates may saturate units.
        patterns: how many samples of a batch are taken in a step.

    Raises:
        ValueError: lr or rise is negative, mu is not above 0 or patterns is not 1 or more.
    """

    def __init__(
        self, params: Iterable[Any], lr: float = PASS_RATES[0], mu: float = 0.02, rise: int = 0, patterns: int = 1
    ) -> None:
        if not lr >= 0:
            raise ValueError(f"lr must be 0 or more, got {lr}")
        if not mu > 0:
            raise ValueError(f"mu must be above 0, got {mu}")
        if not rise >= 0:
            raise ValueError(f"rise must be 0 or more, got {rise}")
        if not patterns >= 1:
            raise ValueError(f"patterns must be 1 or more, got {patterns}")
        # plain, for a checkpoint to be read safely: the command line has number types of its own
        super().__init__(params, {"lr": lr, "mu": mu, "rise": int(rise), "patterns": int(patterns), "steps": 0})

    @property
    def outdated(self) -> bool:
        """Whether the curvature should be estimated again within the pass, before the next step."""
        steps, rise = (self.param_groups[0][name] for name in ("steps", "rise"))
        return 0 < steps < rise and steps % max(1, rise // 10) == 0

    @torch.no_grad()
    def estimate(self, curvatures: Iterable[Tensor]) -> None:
        """Replace the curvatures, one tensor for each weight tensor, in their order."""
        (group,) = self.param_groups
        for parameter, found in zip(group["params"], curvatures, strict=True):
            self.state[parameter]["damped_curvature"] = found + group["mu"]

    def advance(self) -> float:
        """Count a step, and return its rate."""
        (group,) = self.param_groups
        group["steps"] += 1
        return group["lr"] * (min(1.0, group["steps"] / group["rise"]) if group["rise"] else 1.0)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move the weights by one step; `closure`, if given, computes loss and gradients first."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        weights = [parameter for parameter in self.param_groups[0]["params"] if parameter.grad is not None]
        if weights:  # none where the closure has taken all steps itself, one by one
            gradients = [parameter.grad for parameter in weights]
            damped = [self.state[parameter]["damped_curvature"] for parameter in weights]
            # one call for all: twelve would take longer than a sample's forward pass
            torch._foreach_addcdiv_(weights, gradients, damped, value=-self.advance())
        return loss


def curvature(network: nn.Module, images: Tensor, labels: Tensor, loss: Loss) -> list[Tensor]:
    """Return the diagonal Gauss-Newton second derivatives of the loss, one tensor for each weight tensor of `network`.

    Second derivatives of the loss by the units it is computed from (F6 for RBF outputs, else the output units) are
    exact. From there they are propagated back through squared weights and squared slopes; those of a shared weight are
    summed over its connections (LeCun et al. 1998, appendix C, equations 34 to 38). All are 0 or more for the losses
    used here, and means over the samples.

    Args:
        network: a LeNet5_1998 or LeNet1: a chain of its layers.
        images: (N, 1, 28, 28), normalised.
        labels: (N,).
        loss: a mean over samples of (logits, labels).

    Raises:
        TypeError: the network has a layer for which this has no rule.
    """
    chain: list[tuple[nn.Module, Tensor, Tensor]] = []
    layers = [layer for layer in network.modules() if not list(layer.children())]
    for layer in layers:
        if not isinstance(layer, (*WEIGHTED, Squash, EuclideanRBF)):
            raise TypeError(f"SDLM has no rule for {type(layer).__name__}")
    hooks = [layer.register_forward_hook(lambda layer, x, y: chain.append((layer, x[0], y))) for layer in layers]
    with torch.no_grad():
        units = network(images)
    for hook in hooks:
        hook.remove()
    to_logits = chain.pop()[0] if isinstance(chain[-1][0], EuclideanRBF) else nn.Identity()
    units = chain[-1][2].requires_grad_()
    (first,) = grad(loss(to_logits(units), labels), units, create_graph=True)
    second = [grad(of_unit.sum(), units, retain_graph=True)[0][:, k] for k, of_unit in enumerate(first.unbind(1))]
    back = torch.stack(second, dim=1)
    found: dict[Tensor, Tensor] = {}
    for layer, x, y in reversed(chain):
        back = back.view_as(y)
        if isinstance(layer, Squash):
            slope = vjp(layer, x)[1](torch.ones_like(x))[0]
            back = back * slope.square()
        else:
            weights = dict(layer.named_parameters())
            # sums of products back through squares: the layer's own backward pass, of squared weights and inputs
            squares = {name: weight.detach().square() for name, weight in weights.items()}
            of_weights, back = vjp(lambda w, x: functional_call(layer, w, x), squares, x.square())[1](back)  # noqa: B023 - called at once
            found |= {weight: of_weights[name] for name, weight in weights.items()}
    return [found[weight] for weight in network.parameters()]
