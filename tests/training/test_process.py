"""Memory that was freed is not fetched again page by page, and a thread that waits takes no core from others."""

import os
import re
import subprocess
import sys

import pytest

STEPS = """
import contextlib, resource, sys
import torch
from lenet_lightning import LeNet5
from lenet_lightning.training import process

def faults():
    network = LeNet5()
    images, labels = torch.rand(256, 1, 28, 28), torch.arange(256) % 10
    for step in range(25):
        if step == 5:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.nn.functional.cross_entropy(network(images), labels).backward()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

with process.tuned() if sys.argv[1] == "tuned" else contextlib.nullcontext():
    print(faults(), torch.tensor([1e-39]).mul(0.5).item() == 0)
assert torch.tensor([1e-39]).mul(0.5).item() != 0
"""


def faults(how: str) -> tuple[int, bool]:
    command = [sys.executable, "-c", STEPS, how]
    # glibc adapts its own thresholds, to some heaps better than to others: here it does not
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    count, flushed = done.stdout.split()
    return int(count), flushed == "True"


@pytest.mark.faults  # two processes of two seconds
def test_a_tuned_process_fetches_no_page_twice_and_flushes_denormals():
    some = 20 * 500  # of the 12,000 pages that a step works on
    untuned, flushed = faults("as it is")
    assert untuned > some
    assert not flushed
    tuned, flushed = faults("tuned")
    assert tuned < some
    assert flushed


@pytest.mark.skipif(sys.platform != "linux", reason="libgomp tells its settings")
@pytest.mark.parametrize(("chosen", "spins"), [({}, 0), ({"OMP_WAIT_POLICY": "active"}, 30_000_000_000)])
def test_a_waiting_thread_leaves_its_core_unless_told_otherwise(tmp_path, chosen, spins):
    environment = {name: value for name, value in os.environ.items() if not re.match("G?OMP_", name)}
    command = [sys.executable, "-m", "lenet_lightning", "describe"]
    done = subprocess.run(
        command,
        env=environment | {"OMP_DISPLAY_ENV": "verbose"} | chosen,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert [int(count) for count in re.findall(r"GOMP_SPINCOUNT = '(\d+)'", done.stderr)] == [spins]
