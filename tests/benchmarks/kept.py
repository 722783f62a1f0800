"""Where benchmarks keep their figures, a JSON file for each: runs/benchmarks/ and, published, docs/benchmarks/."""

import json
import shutil
from pathlib import Path
from typing import Any

from lenet_lightning.training.environment import environment

ROOT = Path(__file__).parents[2]
WORK = ROOT / "runs" / "benchmarks"
PUBLISHED = ROOT / "docs" / "benchmarks"

Rows = list[dict[str, Any]]


def read(name: str) -> Rows:
    """Give the rows that were taken on this machine."""
    return _rows(WORK / f"{name}.json")


def published(name: str) -> Rows:
    """Give the rows that the documents show."""
    return _rows(PUBLISHED / f"{name}.json")


def _rows(file: Path) -> Rows:
    return json.loads(file.read_text()) if file.exists() else []


def add(name: str, row: dict[str, Any]) -> None:
    """Keep a row at once, with the hardware and the versions that it was made with: hours of work can be stopped."""
    WORK.mkdir(parents=True, exist_ok=True)
    made = {key: value for key, value in environment().items() if key != "data_sha256"}
    partial = WORK / f"{name}.json.partial"
    partial.write_text(json.dumps([*read(name), row | {"made_with": made}], indent=1) + "\n")
    partial.rename(WORK / f"{name}.json")


def publish() -> None:
    """Let the documents show what was taken on this machine."""
    PUBLISHED.mkdir(parents=True, exist_ok=True)
    for file in WORK.glob("*.json"):
        shutil.copy(file, PUBLISHED)
