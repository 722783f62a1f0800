"""The time of one step of the historical networks, one pattern at a time: the table in docs/1998.md.

OMP_NUM_THREADS=1 python -m tests.benchmarks.step
"""

import argparse
import statistics
import time

import torch

from lenet_lightning.historical.losses import rbf_map
from lenet_lightning.historical.per_sample import PerSample
from lenet_lightning.historical.sdlm import SDLM, curvature
from lenet_lightning.networks import LeNet1, LeNet5_1998

STEPS = 500  # in a round


class Contender:
    """A network on its own way through the same patterns."""

    def __init__(self, kind: type, compile: bool) -> None:
        torch.manual_seed(1)
        network = kind()
        self._digits = torch.rand(STEPS, 1, 28, 28) * 1.275 - 0.1, torch.randint(10, (STEPS,))
        self._optimizer = SDLM(network.parameters(), lr=1e-5)
        self._optimizer.estimate(curvature(network, *self._digits, rbf_map))
        self._per_sample = PerSample(network, rbf_map, compile)

    def round(self) -> float:
        """Microseconds for a step."""
        started = time.perf_counter()
        self._per_sample(self._optimizer, *self._digits, lambda: None)
        return (time.perf_counter() - started) / STEPS * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11)
    rounds = parser.parse_args().rounds
    print("| network | a step, eager | compiled | eager, compiled = 1 |\n|---|---:|---:|---:|")
    for kind in (LeNet5_1998, LeNet1):
        contenders = [Contender(kind, compile) for compile in (False, True)]
        for contender in contenders:
            contender.round()  # compiles
        taken = [[contender.round() for contender in contenders] for _ in range(rounds)]
        eager, compiled = (statistics.median(times) for times in zip(*taken, strict=True))
        ratios = [a / b for a, b in taken]
        print(
            f"| {kind.__name__} | {eager:,.0f} us | {compiled:,.0f} us "
            f"| {statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f}) |"
        )
    print(f"\n{rounds} rounds, {torch.get_num_threads()} thread, torch {torch.__version__}")


if __name__ == "__main__":
    main()
