import pytest

from lenet_lightning.data.dataset import EpochSampler


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
