"""Frame many pictures in their order: a few in this process, then on all cores."""

import os
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from queue import SimpleQueue

from lenet_lightning.inference.packing import Result
from lenet_lightning.inference.reader import Reader, frame
from lenet_lightning.inference.rows import Row

# processes take half a second to start: they come when a reading has taken this long and will take as long again
_ALONE_S = 1

# pictures that a process is given at once, and how often as many wait for each process
_AT_ONCE, _WAITING = 8, 3


def framed(rows: Sequence[Row], invert: str, line: bool) -> Generator[Result, None, None]:
    """Yield what is in each picture, or its error, in the order of the rows. Close it to end its processes.

    Args:
        rows: the pictures.
        invert: as for `picture.frame`.
        line: whether each picture holds a row of digits.
    """
    cores = _cores()
    start = time.monotonic()
    for done, row in enumerate(rows):
        taken = time.monotonic() - start
        if cores > 1 and done and min(1, (len(rows) - done) / done) * taken > _ALONE_S:
            yield from _on_all(cores, islice(rows, done, None), invert, line)
            return
        yield _here(row, invert, line)


def _cores() -> int:
    # those that this process may use, where the system tells
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _here(row: Row, invert: str, line: bool) -> Result:
    return str(row.error) if row.source is None else frame(row.source, invert, line)


def _on_all(cores: int, rows: Iterator[Row], invert: str, line: bool) -> Iterator[Result]:
    readers = [Reader(invert, line) for _ in range(cores)]
    idle: SimpleQueue[Reader] = SimpleQueue()
    for reader in readers:
        idle.put(reader)

    def read(some: list[Row]) -> list[Result]:
        reader = idle.get()
        try:
            results = iter(reader.frame([row.source for row in some if isinstance(row.source, str)]))
        finally:
            idle.put(reader)
        return [next(results) if isinstance(row.source, str) else _here(row, invert, line) for row in some]

    pool = ThreadPoolExecutor(cores)  # of threads that wait for the processes
    waiting: deque[Future[list[Result]]] = deque()
    try:
        while some := list(islice(rows, _AT_ONCE)):
            waiting.append(pool.submit(read, some))
            if len(waiting) >= _WAITING * cores:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        for reader in readers:
            reader.kill()
        pool.shutdown(cancel_futures=True)
        for reader in readers:
            reader.close()
