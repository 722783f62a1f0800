"""How far a long reading is, on a terminal."""

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import TypeVar

T = TypeVar("T")

# a shorter reading needs no bar, nor the time to import what draws it
_AFTER_S = 2


def shown(items: Iterable[T], total: int, wanted: bool) -> Iterator[T]:
    """Yield the items; once that takes long, show how many there were, and how many a second, on stderr.

    Args:
        items: what is counted.
        total: how many there will be.
        wanted: whether to show anything, if stderr is a terminal.
    """
    start = time.monotonic()
    with ExitStack() as stack:
        bar = task = None
        for done, item in enumerate(items, 1):
            yield item
            taken = time.monotonic() - start
            if bar and task is not None:
                bar.update(task, completed=done, rate=done / taken)
            elif wanted and sys.stderr.isatty() and taken > _AFTER_S:
                from rich.console import Console
                from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

                bar = stack.enter_context(
                    Progress(
                        BarColumn(None),
                        MofNCompleteColumn(),
                        TextColumn("pictures, {task.fields[rate]:,.0f} a second"),
                        TimeRemainingColumn(),
                        console=Console(file=sys.stderr),
                        redirect_stdout=False,
                        refresh_per_second=4,
                        transient=True,
                        expand=True,
                    )
                )
                task = bar.add_task("", total=total, completed=done, rate=done / taken)
