"""Runs beside each other in numbers: what each reached, and the settings in which they differ."""

import csv
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.table import Table

from lenet_lightning.errors import RunError, one_line
from lenet_lightning.training import recorded
from lenet_lightning.training.results import RESULTS

RATE = "model.optimizer.init_args.lr"
# of results.json: the rest are details of the test
DETAILS = ("test/acc/", "test/rejected")


def settings(run: Path) -> dict[str, str]:
    """Return a run's settings and results as text by dotted names; those of a damaged file are missing."""
    found: dict[str, str] = {}
    with suppress(OSError, RunError):
        found |= _flat(recorded.read(run / "config.yaml"))
    with suppress(OSError, ValueError):
        results = json.loads((run / RESULTS).read_text())
        found |= {name: value for name, value in _flat(results).items() if not name.startswith(DETAILS)}
    return found


def best(run: Path) -> float | None:
    """Return the best validation accuracy in a run's metrics.csv, from 0 to 1; None if it has none."""
    with suppress(OSError, ValueError, csv.Error), (run / "metrics.csv").open(newline="") as file:
        return max((float(row["val/acc"]) for row in csv.DictReader(file) if row.get("val/acc")), default=None)
    return None


def label(run: Path) -> str:
    """Return a run's best validation accuracy, learning rate and seed, in at most 16 characters or so."""
    accuracy, own = best(run), settings(run)
    reached = "no val" if accuracy is None else f"{accuracy:.2%}"
    return f"{reached} {own.get(RATE, '')[:8]} #{own.get('seed_everything', '')[:6]}".replace("/", "_")


def overview(runs: list[Path]) -> Table:
    """Return a table with a line for each run: its name, accuracies, learning rate and seed."""
    table = Table("run", "validation", "test", "learning rate", "seed", box=None)
    for run in runs:
        accuracy, own = best(run), settings(run)
        cells = ("" if accuracy is None else f"{accuracy:.2%}", _percent(own.get("test/acc")))
        table.add_row(one_line(run.name), *cells, own.get(RATE, ""), own.get("seed_everything", ""))
    return table


def differences(runs: list[Path]) -> Table:
    """Return a table with a column for each run, and a line for each setting or result in which they differ."""
    table = Table("", *(one_line(run.name) for run in runs), box=None)
    table.add_row("best val/acc", *("" if (accuracy := best(run)) is None else f"{accuracy:.2%}" for run in runs))
    each = [settings(run) for run in runs]
    for name in dict.fromkeys(name for own in each for name in own):
        values = [own.get(name, "") for own in each]
        if len(set(values)) > 1:
            table.add_row(one_line(name), *values)
    return table


def _percent(value: str | None) -> str:
    with suppress(TypeError, ValueError):
        return f"{float(value or 'none'):.2%}"
    return ""


def _flat(value: Any, name: str = "") -> dict[str, str]:
    if isinstance(value, dict) and value:
        return {k: v for key, each in value.items() for k, v in _flat(each, f"{name}.{key}".lstrip(".")).items()}
    return {name: one_line(value, 60)}
