import pytest
import torch

from lenet_lightning.data.dataset import DISTORTION, ORDER, EpochSampler, derive_seed


@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("seed", [None, 7])
def test_the_processes_share_all_indices_and_repeat_none(processes, seed):
    shares = [EpochSampler(1_001, processes, rank, seed) for rank in range(processes)]
    assert [len(list(share)) for share in shares] == [len(share) for share in shares]
    assert sorted(index for share in shares for index in share) == list(range(1_001))
    whole = list(EpochSampler(1_001, seed=seed))
    assert [list(share) for share in shares] == [whole[rank::processes] for rank in range(processes)]


def test_without_a_seed_the_order_is_that_of_the_data_set():
    sampler = EpochSampler(10)
    sampler.set_epoch(3)
    assert list(sampler) == list(range(10))


def test_an_order_is_a_function_of_seed_and_epoch_and_no_two_are_equal():
    def order(seed, epoch):
        sampler = EpochSampler(100, seed=seed)
        sampler.set_epoch(epoch)
        torch.manual_seed(seed + epoch)  # nor does the global state change it
        return tuple(sampler)

    orders = {(seed, epoch): order(seed, epoch) for seed in range(5) for epoch in range(5)}
    assert len(set(orders.values())) == 25
    assert all(order(*key) == found for key, found in orders.items())


def test_seeds_of_different_things_epochs_and_processes_differ():
    keys = [
        (seed, what, *rest)
        for seed in (0, 1, 2**64 - 1)
        for what in (ORDER, DISTORTION)
        for rest in ((), (0,), (0, 0), (1,), (0, 1))
    ]
    made = {derive_seed(*key) for key in keys}
    assert len(made) == len(keys)
    assert all(torch.Generator().manual_seed(seed) for seed in made)
    assert derive_seed(1, ORDER, 0) == 6651666526363356749  # of any Python and machine
