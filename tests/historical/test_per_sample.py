import pytest
import torch

from lenet_lightning.historical.losses import rbf_map
from lenet_lightning.historical.per_sample import PerSample
from lenet_lightning.historical.sdlm import SDLM, curvature
from lenet_lightning.networks.lenet1 import LeNet1
from lenet_lightning.networks.lenet5_1998 import LeNet5_1998


@pytest.fixture
def digits():
    torch.manual_seed(0)
    return torch.rand(50, 1, 28, 28) * 1.275 - 0.1, torch.randint(10, (50,))


def trained(kind, digits, patterns, compile=False):
    """The network after a pass, what was returned of it, and the steps at which curvatures were estimated."""
    torch.manual_seed(1)
    network, estimated = kind(), []
    optimizer = SDLM(network.parameters(), lr=1e-3, mu=0.2, rise=20, patterns=patterns)

    def estimate():
        estimated.append(optimizer.param_groups[0]["steps"])
        optimizer.estimate(curvature(network, *digits, rbf_map))

    estimate()
    return network, PerSample(network, rbf_map, compile)(optimizer, *digits, estimate), estimated


@pytest.mark.parametrize("patterns", [1, 7])
def test_it_is_a_loop_of_single_steps(digits, patterns):
    network, (logits, losses, norms), estimated = trained(LeNet1, digits, patterns)
    torch.manual_seed(1)
    other, steps = LeNet1(), 0
    optimizer = SDLM(other.parameters(), lr=1e-3, mu=0.2, rise=20)
    for first in range(0, 50, patterns):
        if steps % 2 == 0 and steps < 20:
            optimizer.estimate(curvature(other, *digits, rbf_map))
        images, labels = (part[first : first + patterns] for part in digits)
        optimizer.zero_grad()
        found = other(images)
        loss = rbf_map(found, labels)
        loss.backward()
        torch.testing.assert_close(logits[first : first + patterns], found.detach(), rtol=0, atol=0)
        torch.testing.assert_close(losses[steps], loss.detach() * len(labels), rtol=0, atol=0)
        size = torch.cat([p.grad.flatten() for p in other.parameters()]).norm()
        torch.testing.assert_close(norms[steps], size)
        optimizer.step()
        steps += 1
    assert len(losses) == len(norms) == steps
    assert estimated == [step for step in range(0, 20, 2) if step < steps]
    for ours, theirs in zip(network.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.faults  # half a minute each
@pytest.mark.parametrize("kind", [LeNet5_1998, LeNet1])
@pytest.mark.parametrize("patterns", [1, 7])
@pytest.mark.filterwarnings("ignore")  # of the compiler
def test_a_compiled_step_is_the_same_step(digits, kind, patterns):
    eager, *of_eager = trained(kind, digits, patterns)
    compiled, *of_compiled = trained(kind, digits, patterns, compile=True)
    moved = [(p - q).abs().max() for p, q in zip(eager.parameters(), kind().parameters(), strict=True)]
    assert min(moved) > 1e-3
    torch.testing.assert_close(list(compiled.parameters()), list(eager.parameters()), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(of_compiled, of_eager, rtol=1e-4, atol=1e-4)
