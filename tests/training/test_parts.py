"""A step in parts is the step: the same loss, gradients, hooks, errors, random numbers, and bits at each run."""

import multiprocessing
import os
import threading
from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lenet_lightning import DigitClassifier, LeNet5
from lenet_lightning.training import parts
from lenet_lightning.training.callbacks.weight_average import WeightAverage
from tests.training.plain import QUIET, fit, sgd

pytestmark = QUIET


@pytest.fixture(params=[2, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def batch_of(count, dtype=torch.float32):
    return torch.randn(count, 1, 28, 28, dtype=dtype), torch.randint(10, (count,))


def gradients(loss, model):
    return torch.autograd.grad(loss, list(model.network.parameters()))


def ran_in_parts(loss):
    return type(loss.grad_fn).__name__ == "_InPartsBackward"


def in_parts(model, batch):
    """The loss of a training step, which is in parts."""
    loss = model.training_step(batch, 0)["loss"]
    assert ran_in_parts(loss)
    return loss


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("more", [0, 1, 7])
def test_loss_logits_and_gradients_are_those_of_the_whole_batch(threads, more, smoothing):
    """Of parts of unequal size, too: each weighs as much as it has samples."""
    model = DigitClassifier(label_smoothing=smoothing).double()
    batch = batch_of(threads * parts.FEWEST_SAMPLES + more, torch.float64)
    step, (logits, loss) = model.training_step(batch, 0), model.step(batch)
    assert ran_in_parts(step["loss"])
    torch.testing.assert_close(step["logits"], logits, rtol=0, atol=1e-12)
    torch.testing.assert_close(step["loss"], loss, rtol=0, atol=1e-12)
    for found, expected in zip(gradients(3 * step["loss"], model), gradients(3 * loss, model), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("count", [1, 2, 2 * parts.FEWEST_SAMPLES - 1])
def test_a_small_batch_is_one_step(two_threads, count):
    model = DigitClassifier()
    assert not ran_in_parts(model.training_step(batch_of(count), 0)["loss"])


def test_there_are_never_more_parts_than_full_ones():
    before = torch.get_num_threads()
    torch.set_num_threads(8)
    try:
        model, batch = DigitClassifier().double(), batch_of(3 * parts.FEWEST_SAMPLES, torch.float64)
        torch.testing.assert_close(in_parts(model, batch), model.step(batch)[1])
    finally:
        torch.set_num_threads(before)


def test_two_runs_have_the_same_bits(threads, digits):
    def weights():
        torch.manual_seed(1)
        model = DigitClassifier(optimizer=sgd(0.02))
        fit(model, digits, 3, batch_size=100)
        return model.network.state_dict()

    first, second = weights(), weights()
    assert all(torch.equal(values, second[name]) for name, values in first.items())


def test_a_fit_ends_where_one_thread_ends(two_threads, digits):
    """Clipping, accumulation, averaging and a schedule are as they were."""

    class Whole(DigitClassifier):
        def step(self, batch):
            return super().step(batch)

    def weights(kind):
        torch.manual_seed(1)
        model = kind(optimizer=sgd(0.02), schedule="onecycle").double()
        settings = {"gradient_clip_val": 0.1, "accumulate_grad_batches": 2, "precision": "64-true"}
        fit(model, (digits[0].double(), digits[1]), 4, 64, [WeightAverage(0.9)], **settings)
        return model.network.state_dict()

    in_one, whole = weights(DigitClassifier), weights(Whole)
    for name, values in in_one.items():
        torch.testing.assert_close(values, whole[name], rtol=0, atol=1e-10)


def altered(name, layer):
    network = LeNet5()
    setattr(network, name, layer)
    return network


class OwnLoss(DigitClassifier):
    def loss(self, logits, labels):
        return F.cross_entropy(logits, labels, reduction="sum")


class OwnStep(DigitClassifier):
    def step(self, batch):
        logits = self.network(batch[0].flip(0))
        return logits, self.loss(logits, batch[1])


@pytest.mark.parametrize(
    "model",
    [
        OwnLoss(),
        OwnStep(),
        DigitClassifier(altered("flatten", nn.Sequential(nn.Flatten(), nn.Dropout()))),
        DigitClassifier(altered("pool2", nn.Sequential(nn.AvgPool2d(2), nn.BatchNorm2d(16)))),
        DigitClassifier(nn.Sequential(nn.Flatten(), nn.Linear(784, 10))),
        DigitClassifier("lenet5_1998"),
    ],
)
def test_what_parts_could_change_is_one_step(two_threads, model):
    twin, batch = deepcopy(model), batch_of(64)
    torch.manual_seed(1)
    loss = model.training_step(batch, 0)["loss"]
    assert not ran_in_parts(loss)
    torch.manual_seed(1)
    assert torch.equal(loss, twin.step(batch)[1])


def test_hooks_see_the_whole_batch_once(two_threads):
    model, batch, seen = DigitClassifier(), batch_of(64), []
    removable = model.network.linear3.register_forward_hook(lambda _, __, logits: seen.append(len(logits)))
    model.training_step(batch, 0)
    removable.remove()
    model.network.linear3.bias.register_hook(lambda gradient: seen.append(tuple(gradient.shape)))
    model.training_step(batch, 0)["loss"].backward()
    assert seen == [64, (10,)]


def test_hooks_after_accumulation_run_once_for_each_parameter(two_threads):
    """As those of DistributedDataParallel do."""
    model, seen = DigitClassifier(), []
    for name, parameter in model.network.named_parameters():
        parameter.register_post_accumulate_grad_hook(lambda _, name=name: seen.append(name))
    in_parts(model, batch_of(64)).backward()
    assert sorted(seen) == sorted(dict(model.network.named_parameters()))


def test_frozen_and_unused_parameters_get_no_gradient(two_threads):
    model = DigitClassifier()
    model.network.conv1.requires_grad_(False)
    model.network.spare = nn.Parameter(torch.zeros(1))
    in_parts(model, batch_of(64)).backward()
    without = [name for name, parameter in model.network.named_parameters() if parameter.grad is None]
    assert sorted(without) == ["conv1.bias", "conv1.weight", "spare"]
    model.network.requires_grad_(False)
    assert not model.training_step(batch_of(64), 0)["loss"].requires_grad


def test_the_gradient_of_the_images_is_that_of_one_step(two_threads):
    images, labels = batch_of(64)
    loss = DigitClassifier().training_step((images.requires_grad_(), labels), 0)["loss"]
    (gradient,) = torch.autograd.grad(loss, images)
    assert gradient.any()


def test_a_second_derivative_is_that_of_one_step(two_threads):
    model, batch = DigitClassifier().double(), batch_of(64, torch.float64)

    def curvature(loss):
        first = torch.autograd.grad(loss, list(model.network.parameters()), create_graph=True)
        return gradients(sum(each.square().sum() for each in first), model)

    for found, expected in zip(curvature(in_parts(model, batch)), curvature(model.step(batch)[1]), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def test_autocast_holds_in_the_threads(two_threads):
    model, batch = DigitClassifier(), batch_of(64)
    exact = model.step(batch)[1]
    with torch.autocast("cpu", torch.bfloat16):
        step, whole = model.training_step(batch, 0), model.step(batch)[0]
    assert ran_in_parts(step["loss"])
    assert step["logits"].dtype == whole.dtype == torch.bfloat16
    torch.testing.assert_close(step["loss"], exact, rtol=0, atol=0.02)
    assert all(gradient.isfinite().all() for gradient in gradients(step["loss"], model))


def test_an_error_in_a_thread_comes_out_as_itself(two_threads):
    model, (images, labels) = DigitClassifier(), batch_of(64)
    labels[-1] = 10
    with pytest.raises(IndexError, match="Target 10 is out of bounds"):
        model.training_step((images, labels), 0)
    in_parts(model, batch_of(64))  # and the threads go on


def test_each_part_has_one_thread_alone(threads):
    """With more they would wait for each other, and the step would be slower than undivided."""
    seen, (images, labels) = [], batch_of(threads * parts.FEWEST_SAMPLES)

    def loss(logits, labels):
        seen.append((threading.get_ident(), torch.get_num_threads()))
        return F.cross_entropy(logits, labels)

    parts.step(LeNet5(), loss, images, labels)
    assert [number for _, number in seen] == [1] * threads
    assert threading.get_ident() not in dict(seen)


def test_other_threads_and_the_callers_own_number_stay_as_they_are(two_threads):
    in_parts(DigitClassifier(), batch_of(64))
    assert torch.get_num_threads() == 2
    later = []
    started = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    started.start()
    started.join()
    assert later == [2]


def test_any_number_of_fits_needs_the_same_threads(two_threads, digits):
    fit(DigitClassifier(), digits, 1, batch_size=64)
    before = threading.active_count()
    for _ in range(3):
        fit(DigitClassifier(), digits, 1, batch_size=64)
    assert threading.active_count() == before


def _loss_of_another_process(queue, weights, batch):
    torch.set_num_threads(2)
    model = DigitClassifier()
    model.network.load_state_dict(weights)
    queue.put((model.training_step(batch, 0)["loss"].item(), os.getpid()))


def test_it_works_in_the_processes_that_this_one_starts(two_threads):
    model, batch = DigitClassifier(), batch_of(64)
    expected = in_parts(model, batch).item()
    context = multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    process = context.Process(target=_loss_of_another_process, args=(queue, model.network.state_dict(), batch))
    process.start()
    loss, number = queue.get()
    process.join(30)
    assert process.exitcode == 0
    assert loss == expected
    assert number != os.getpid()
