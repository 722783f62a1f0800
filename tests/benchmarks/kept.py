"""Where the figures of README's tables are kept: docs/benchmarks/, a JSON file for each benchmark."""

import json
from pathlib import Path
from typing import Any

from lenet_lightning.training.circumstances import circumstances

FOLDER = Path(__file__).parents[2] / "docs" / "benchmarks"


def read(name: str) -> list[dict[str, Any]]:
    """Give the rows of a benchmark that are there."""
    file = FOLDER / f"{name}.json"
    return json.loads(file.read_text()) if file.exists() else []


def add(name: str, row: dict[str, Any]) -> None:
    """Keep a row at once, with the hardware and the versions that it was made with: hours of work can be stopped."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    made = {key: value for key, value in circumstances().items() if key not in ("data_sha256", "accelerator")}
    rows = [*read(name), row | {"made_with": made}]
    partial = FOLDER / f"{name}.json.partial"
    partial.write_text(json.dumps(rows, indent=1) + "\n")
    partial.rename(FOLDER / f"{name}.json")
