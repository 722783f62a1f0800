"""Memory that was freed is not fetched again page by page."""

import subprocess
import sys

STEPS = """
import resource, sys
import torch
from lenet_lightning.training import process

if sys.argv[1] == "tuned":
    process.tune()
def step():
    maps = [torch.ones(256, 6, 28, 28) for _ in range(8)]
for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(torch.tensor([1e-39]).mul(0.5).item() == 0)
"""


def faults(how: str) -> tuple[int, bool]:
    command = [sys.executable, "-c", STEPS, how]
    count, flushed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return int(count), flushed == "True"


def test_a_tuned_process_fetches_no_page_twice_and_flushes_denormals():
    pages_of_a_step = 8 * 256 * 6 * 28 * 28 * 4 // 4096
    untuned, flushed = faults("as it is")
    assert untuned > pages_of_a_step
    assert not flushed
    tuned, flushed = faults("tuned")
    assert tuned < pages_of_a_step
    assert flushed
