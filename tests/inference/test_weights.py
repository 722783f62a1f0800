import hashlib
import resource

import pytest
import torch

from lenet_lightning import LeNet5
from lenet_lightning.data import files as source
from lenet_lightning.errors import RunError, UsageError
from lenet_lightning.inference import weights

FACTS = {"network": "lenet5", "mean": 0.1307, "classes": ["0", "1"]}


def test_the_shipped_file_is_the_one_that_make_weights_made():
    content = weights.SHIPPED.read_bytes()
    assert hashlib.sha256(content).hexdigest() == "5f04007e2591721b9604d5a847b64e1f419878ed6cdd652bf5ffa814698f0b52"
    _, facts = weights.read(weights.SHIPPED)
    assert facts["test/acc"] >= 0.9935  # the bound of default.yaml


def test_what_is_written_is_read(tmp_path):
    state = LeNet5().state_dict()
    weights.write(state, FACTS, tmp_path / "w.safetensors")
    read, facts = weights.read(tmp_path / "w.safetensors")
    assert facts == weights.facts_of("lenet5", source.MEAN, source.STD) | FACTS  # the rest is its network's
    assert read.keys() == state.keys()
    assert all(torch.equal(read[name], state[name]) for name in state)


def test_equal_weights_are_equal_files(tmp_path):
    state = LeNet5().state_dict()
    weights.write(state, FACTS, tmp_path / "a.safetensors")
    weights.write(state, dict(reversed(FACTS.items())), tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


@pytest.mark.parametrize("size", [0, 5, 1_000, 200_000])
def test_a_truncated_file_is_refused(tmp_path, size):
    weights.write(LeNet5().state_dict(), FACTS, tmp_path / "w.safetensors")
    (tmp_path / "w.safetensors").write_bytes((tmp_path / "w.safetensors").read_bytes()[:size])
    with pytest.raises(RunError, match="damaged"):
        weights.read(tmp_path / "w.safetensors")


def test_a_file_of_another_project_is_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(RunError):
        weights.read(tmp_path / "w.safetensors")


def test_a_missing_file_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="no such"):
        weights.read(tmp_path / "none.safetensors")


def test_a_full_disk_is_an_os_error_and_leaves_the_older_file(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"older")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError):
            weights.write(LeNet5().state_dict(), FACTS, tmp_path / "w.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"older"]
