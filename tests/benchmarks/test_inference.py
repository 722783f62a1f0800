"""What a benchmark measures in a process of its own is that process's alone."""

import subprocess
import sys

import pytest

from tests.benchmarks import kept

LARGE = 400 * 2**20
PRINTED = "from tests.benchmarks import inference; print(inference.most_memory_kb())"


@pytest.mark.skipif(sys.platform != "linux", reason="the benchmark reads /proc")
def test_memory_is_counted_without_what_the_parent_had():
    parents = bytearray(LARGE)
    done = subprocess.run([sys.executable, "-c", PRINTED], capture_output=True, text=True, check=True, cwd=kept.ROOT)
    assert 0 < 1024 * int(done.stdout) < len(parents) / 2
