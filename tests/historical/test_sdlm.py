"""The paper's optimizer against its own formulas, unit by unit, and against exact derivatives."""

import itertools

import pytest
import torch
from torch import nn
from torch.func import functional_call, jacrev

from lenet_lightning.historical.losses import cross_entropy, rbf_map, rbf_mse
from lenet_lightning.historical.sdlm import SDLM, curvature
from lenet_lightning.networks.layers import EuclideanRBF, SparseConv2d, Squash, Subsampling
from lenet_lightning.networks.lenet1 import LeNet1
from lenet_lightning.networks.lenet5 import LeNet5
from lenet_lightning.networks.lenet5_1998 import LeNet5_1998, bitmaps


@pytest.fixture(autouse=True)
def _in_float64():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


class TwoLayers(nn.Module):
    """A hidden layer and ten output units: here the recursion is the exact Gauss-Newton diagonal."""

    def __init__(self):
        super().__init__()
        self.hidden, self.squash, self.output = nn.Linear(9, 5), Squash(), nn.Linear(5, 10)

    def forward(self, images):
        return self.output(self.squash(self.hidden(images.flatten(1))))


class TinyLeNet(nn.Module):
    """Each kind of layer once: 12x12 pixels, 2@10x10, 2@5x5, 2@1x1, 84, ten RBF units."""

    def __init__(self):
        super().__init__()
        self.squash = Squash()
        self.c1 = nn.Conv2d(1, 2, 3)
        self.s2 = Subsampling(2)
        self.c3 = SparseConv2d(2, ((0,), (0, 1)))
        self.f4 = nn.Linear(2, 84)
        self.output = EuclideanRBF(bitmaps())

    def forward(self, images):
        x = self.squash(self.s2(self.squash(self.c1(images))))
        x = self.squash(self.c3(x))
        return self.output(self.squash(self.f4(x.flatten(1))))


def exact_gauss_newton(network, images, labels, loss):
    """diag(J^T H J) with all of J and H, averaged over the samples."""
    weights = {name: p.detach() for name, p in network.named_parameters()}
    total = {name: torch.zeros_like(p) for name, p in weights.items()}
    for image, label in zip(images, labels, strict=True):
        units = network(image[None])[0].detach()
        hessian = torch.func.hessian(lambda x, label=label: loss(x[None], label[None]))(units)
        jacobian = jacrev(lambda w, image=image: functional_call(network, w, image[None])[0])(weights)
        for name, j in jacobian.items():
            total[name] += torch.einsum("ij,i...,j...->...", hessian.diagonal().diag(), j, j) / len(images)
    return [total[name] for name in weights]


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:FutureWarning")  # torch.func.hessian's own
@pytest.mark.parametrize("loss", [cross_entropy, rbf_map])
def test_with_one_hidden_layer_and_no_shared_weights_it_is_exact(loss):
    network, images, labels = TwoLayers(), torch.randn(6, 1, 3, 3), torch.randint(10, (6,))
    found = curvature(network, images, labels, loss)
    for ours, exact in zip(found, exact_gauss_newton(network, images, labels, loss), strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-9, atol=1e-12)


def slope(value):
    return 1.7159 * 2 / 3 * (1 - torch.tanh(2 / 3 * value) ** 2)


def test_with_shared_weights_it_is_the_papers_recursion_summed_over_connections():
    """Appendix C written out in loops: h of a unit from the units it feeds, h of a weight from its connections."""
    net, images, labels = TinyLeNet(), torch.randn(2, 1, 12, 12), torch.tensor([3, 8])
    expected = [torch.zeros_like(p) for p in net.parameters()]
    h_of = dict(zip([name for name, _ in net.named_parameters()], expected, strict=True))
    for image in images:
        with torch.no_grad():
            x0 = image  # (1, 12, 12)
            a1 = net.c1(x0[None])[0]  # (2, 10, 10)
            x1 = net.squash(a1)
            a2 = net.s2(x1[None])[0]  # (2, 5, 5)
            x2 = net.squash(a2)
            a3 = net.c3(x2[None])[0]  # (2, 1, 1)
            x3 = net.squash(a3)
            a4 = net.f4(x3.flatten()[None])[0]  # (84,)
        h4 = 2 * slope(a4) ** 2  # the squared distance to the bitmap has the second derivative 2
        h_x3 = torch.zeros(2)
        for i, j in itertools.product(range(84), range(2)):
            h_of["f4.weight"][i, j] += h4[i] * x3.flatten()[j] ** 2
            h_x3[j] += net.f4.weight.detach()[i, j] ** 2 * h4[i]
        h_of["f4.bias"] += h4
        h3 = h_x3 * slope(a3).flatten() ** 2
        h_x2 = torch.zeros_like(x2)
        for kernel, (out, source) in enumerate([(0, 0), (1, 0), (1, 1)]):
            for dy, dx in itertools.product(range(5), range(5)):
                h_of["c3.weight"][kernel, dy, dx] += h3[out] * x2[source, dy, dx] ** 2
                h_x2[source, dy, dx] += net.c3.weight.detach()[kernel, dy, dx] ** 2 * h3[out]
        h_of["c3.bias"] += h3
        h2 = h_x2 * slope(a2) ** 2
        h_x1 = torch.zeros_like(x1)
        for c, y, x in itertools.product(range(2), range(5), range(5)):
            h_of["s2.bias"][c] += h2[c, y, x]
            for dy, dx in itertools.product(range(2), range(2)):
                h_of["s2.weight"][c] += h2[c, y, x] * x1[c, 2 * y + dy, 2 * x + dx] ** 2
                h_x1[c, 2 * y + dy, 2 * x + dx] += net.s2.weight.detach()[c, 0, 0] ** 2 * h2[c, y, x]
        h1 = h_x1 * slope(a1) ** 2
        for c, y, x in itertools.product(range(2), range(10), range(10)):
            h_of["c1.bias"][c] += h1[c, y, x]
            for dy, dx in itertools.product(range(3), range(3)):
                h_of["c1.weight"][c, 0, dy, dx] += h1[c, y, x] * x0[0, y + dy, x + dx] ** 2
    for ours, by_hand in zip(curvature(net, images, labels, rbf_mse), expected, strict=True):
        torch.testing.assert_close(ours, by_hand / len(images), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(
    ("network", "loss"), [(LeNet5_1998, rbf_map), (LeNet5_1998, rbf_mse), (LeNet1, rbf_mse), (LeNet1, rbf_map)]
)
def test_no_curvature_is_negative_and_each_weight_has_one(network, loss):
    built = network()
    found = curvature(built, torch.rand(8, 1, 28, 28), torch.randint(10, (8,)), loss)
    assert [h.shape for h in found] == [p.shape for p in built.parameters()]
    assert all((h >= 0).all() and h.any() for h in found)


def test_curvature_leaves_the_network_as_it_was():
    built = LeNet1()
    before = {name: values.clone() for name, values in built.state_dict().items()}
    curvature(built, torch.rand(4, 1, 28, 28), torch.randint(10, (4,)), rbf_mse)
    assert all(torch.equal(values, before[name]) for name, values in built.state_dict().items())
    assert all(p.grad is None for p in built.parameters())
    assert not any(layer._forward_hooks for layer in built.modules())


def test_a_network_with_other_layers_is_refused():
    with pytest.raises(TypeError, match="AveragePool"):
        curvature(LeNet5(), torch.rand(2, 1, 28, 28), torch.tensor([0, 1]), cross_entropy)


def test_a_step_is_gradient_times_lr_over_mu_plus_curvature():
    first, second = nn.Parameter(torch.tensor([1.0, 2.0])), nn.Parameter(torch.tensor([[3.0]]))
    optimizer = SDLM([first, second], lr=0.1, mu=0.5)
    optimizer.estimate([torch.tensor([0.5, 1.5]), torch.tensor([[4.5]])])
    first.grad, second.grad = torch.tensor([1.0, 1.0]), torch.tensor([[2.0]])
    optimizer.step()
    torch.testing.assert_close(first.data, torch.tensor([1 - 0.1, 2 - 0.05]))
    torch.testing.assert_close(second.data, torch.tensor([[3 - 0.1 * 2 / 5]]))


def test_with_a_rise_the_first_steps_are_that_part_of_a_step_and_the_curvature_is_wanted_ten_times():
    weight = nn.Parameter(torch.tensor(0.0))
    optimizer = SDLM([weight], lr=0.1, mu=0.5, rise=40)
    optimizer.estimate([torch.tensor(0.5)])
    weight.grad = torch.tensor(1.0)
    moved, wanted = [], []
    for step in range(60):
        if optimizer.outdated:
            wanted.append(step)
        before = weight.item()
        optimizer.step()
        moved.append(before - weight.item())
    assert moved == pytest.approx([0.1 * min(1, step / 40) for step in range(1, 61)])
    assert wanted == list(range(4, 40, 4))  # and at the start of the pass

    straight, resumed = (SDLM([nn.Parameter(torch.tensor(0.0))], lr=0.1, mu=0.5) for _ in range(2))
    assert not straight.outdated
    resumed.load_state_dict(optimizer.state_dict())
    assert resumed.param_groups[0]["steps"] == 60


def test_a_batch_of_samples_with_as_many_times_the_rate_is_the_sum_of_their_steps():
    images, labels = torch.rand(4, 1, 28, 28), torch.randint(10, (4,))
    built = LeNet1()
    before = [p.detach().clone() for p in built.parameters()]
    optimizer = SDLM(built.parameters(), lr=4e-3, mu=0.5)
    optimizer.estimate(curvature(built, images, labels, rbf_mse))
    rbf_mse(built(images), labels).backward()
    optimizer.step()
    whole = [p.detach() - b for p, b in zip(built.parameters(), before, strict=True)]

    summed = [torch.zeros_like(b) for b in before]
    optimizer.param_groups[0]["lr"] = 1e-3
    for image, label in zip(images, labels, strict=True):
        for p, b in zip(built.parameters(), before, strict=True):
            p.data.copy_(b)
        optimizer.zero_grad()
        rbf_mse(built(image[None]), label[None]).backward()
        optimizer.step()
        summed = [s + p.detach() - b for s, p, b in zip(summed, built.parameters(), before, strict=True)]
    for one, many in zip(whole, summed, strict=True):
        torch.testing.assert_close(one, many, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize(
    ("settings", "name"),
    [({"lr": -1.0}, "lr"), ({"mu": 0.0}, "mu"), ({"rise": -1}, "rise"), ({"patterns": 0}, "patterns")],
)
def test_settings_that_cannot_be_are_refused(settings, name):
    with pytest.raises(ValueError, match=f"^{name} must be"):
        SDLM([nn.Parameter(torch.zeros(1))], **settings)
