"""The command that reads digits in pictures."""

import csv
import io
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lenet_lightning.arguments import Parser
from lenet_lightning.errors import RunError, UsageError
from lenet_lightning.inference import picture
from lenet_lightning.inference.predictor import Answer, Recognizer

# what came through the standard input
STDIN = "-"
FIELDS = ("picture", "digit", "probability", "second", "rejected", "notice", "error")


@dataclass(frozen=True)
class Row:
    """What was read in one picture, or the error that kept it from being read."""

    name: str
    source: Path | io.BytesIO
    answers: tuple[Answer, ...] = ()
    error: str | None = None

    def fields(self) -> dict[str, Any]:
        """Give the fields of `--json` and `--csv`: plain values, by their names in FIELDS.

        `digit` is null when blank, rejected or broken, and a string of digits with `--line`, where `probability` is
        that all are right and `second` has, for each, the second best.
        """
        if self.error:
            return dict.fromkeys(FIELDS) | {"picture": self.name, "rejected": False, "error": self.error}
        inked = [answer for answer in self.answers if answer.probabilities is not None]
        rejected = any(answer.rejected for answer in inked)
        best, second = (_number([answer.ranked[place] for answer in inked]) for place in (0, 1))
        probability = 1.0
        for answer in inked:
            probability *= float(answer.probabilities.max())
        return {
            "picture": self.name,
            "digit": None if rejected else best,
            "probability": probability if inked else None,
            "second": second,
            "rejected": rejected,
            "notice": self.answers[0].notice,
            "error": None,
        }
