import itertools

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from lenet_lightning import DigitClassifier
from lenet_lightning.training.callbacks.first_layer import FrozenFirstLayer
from tests.training.plain import QUIET, fit, sgd

pytestmark = QUIET
STEPS = 10  # two epochs of 100 digits in batches of 20


class Watched(FrozenFirstLayer):
    """The callback, which also keeps the weights of C1 and C3 before each step."""

    def __init__(self, after):
        super().__init__(after)
        self.seen = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
        network = pl_module.network
        self.seen.append((network.conv1.weight.detach().clone(), network.conv2.weight.detach().clone()))


def classifier(**settings):
    torch.manual_seed(1)
    return DigitClassifier(optimizer=sgd(0.01), averaging=0, **settings)


@pytest.mark.parametrize(("after", "trained"), [(0, 0), (0.22, 3), (0.4, 4), (1, 10)])
def test_the_first_layer_changes_in_its_part_of_the_steps_only(digits, after, trained):
    model, watched = classifier(), Watched(after)
    fit(model, digits, 2, callbacks=[watched])
    first, second = zip(*watched.seen, strict=True)
    changed = [not torch.equal(*each) for each in zip(first, (*first[1:], model.network.conv1.weight), strict=True)]
    assert changed == [step < trained for step in range(STEPS)]
    assert not any(torch.equal(*each) for each in itertools.pairwise(second))
    assert all(p.requires_grad for p in model.parameters())  # another training may follow


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_a_resumed_training_freezes_it_where_it_would_have(digits, tmp_path):
    whole = classifier()
    resumed = classifier()
    for model, folder, checkpoint in ((whole, "whole", None), (resumed, "resumed", "whole/epoch=1-step=5.ckpt")):
        callbacks = [FrozenFirstLayer(0.7), ModelCheckpoint(tmp_path / folder, save_top_k=-1)]
        path = checkpoint and tmp_path / checkpoint
        fit(model, digits, 2, callbacks=callbacks, ckpt_path=path, enable_checkpointing=True)
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_the_only_layer_of_a_network_is_trained(digits):
    model = classifier(network=torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10)))
    before = model.network[1].weight.detach().clone()
    fit(model, digits, 1, callbacks=[FrozenFirstLayer(0)])
    assert not torch.equal(model.network[1].weight, before)


@pytest.mark.parametrize("after", [-0.1, 1.5, float("nan"), "half"])
def test_what_is_no_fraction_is_refused(after):
    with pytest.raises(ValueError, match="after"):
        FrozenFirstLayer(after)
