import torch

from lenet_lightning import LeNet5
from tests.tutorial import V1, V2, V3


def test_the_three_tutorial_forms_compute_the_same():
    ours, images = LeNet5(), torch.randn(7, 1, 28, 28)
    expected = ours(images)

    first = V1()
    first.load_state_dict(ours.state_dict(), strict=True)  # no name needs translating
    torch.testing.assert_close(first(images), expected, rtol=0, atol=1e-6)
    for form in (V2(), V3()):
        form.load_state_dict(dict(zip(form.state_dict(), ours.state_dict().values(), strict=True)))
        torch.testing.assert_close(form(images), expected, rtol=0, atol=1e-6)


def test_parameters_are_those_of_the_tutorial():
    ledger = {name: sum(p.numel() for p in layer.parameters()) for name, layer in LeNet5().named_children()}
    weighted = {name: count for name, count in ledger.items() if count}
    assert weighted == {"conv1": 156, "conv2": 2_416, "linear1": 48_120, "linear2": 10_164, "linear3": 850}
    assert sum(ledger.values()) == 61_706


def test_layers_have_the_shapes_of_their_comments():
    network, shapes = LeNet5(), {}
    for name, layer in network.named_children():
        layer.register_forward_hook(lambda _, __, output, name=name: shapes.update({name: tuple(output.shape[1:])}))
    assert network(torch.zeros(3, 1, 28, 28)).shape == (3, 10)
    assert shapes == {
        "conv1": (6, 28, 28),
        "pool1": (6, 14, 14),
        "conv2": (16, 10, 10),
        "pool2": (16, 5, 5),
        "flatten": (400,),
        "linear1": (120,),
        "linear2": (84,),
        "linear3": (10,),
    }


def test_every_parameter_gets_a_gradient():
    network = LeNet5()
    network(torch.randn(8, 1, 28, 28)).square().sum().backward()
    still = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


def test_digits_of_a_batch_do_not_touch_each_other():
    network, images = LeNet5(), torch.randn(5, 1, 28, 28)
    torch.testing.assert_close(network(images)[2:3], network(images[2:3]), rtol=0, atol=1e-5)
