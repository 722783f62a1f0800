"""What `predict` reports of one picture: as a line of text, and as plain values."""

import math
from dataclasses import dataclass
from typing import Any, BinaryIO

from lenet_lightning.errors import printable
from lenet_lightning.inference.recognizer import Answer

FIELDS = ("picture", "digit", "probability", "second", "rejected", "notice", "error")


@dataclass(frozen=True, slots=True)  # there may be a million of them
class Row:
    """One picture with its answers, or with the reason why it was not read.

    Attributes:
        source: what to read, a path or an open file; None if it cannot be.
        name: as printed.
        answers: one for each digit.
        error: why it was not read, or None.
        line: whether the picture holds a row of digits (`--line`).
    """

    source: str | BinaryIO | None
    name: str
    answers: tuple[Answer, ...] = ()
    error: str | None = None
    line: bool = False

    def fields(self) -> dict[str, Any]:
        """Return plain values by the names in FIELDS, as JSON and CSV have them.

        With `--line`, digit and second are strings of digits, and probability is that of all digits together.
        """
        rejected = any(answer.rejected for answer in self.answers)
        inked = [answer.probabilities.max() for answer in self.answers if answer.probabilities is not None]
        ranked = [answer.ranked for answer in self.answers if answer.ranked]
        best, second = ("".join(str(digits[place]) for digits in ranked) for place in (0, 1))
        as_read = str if self.line else int
        return {
            "picture": self.name,
            "digit": as_read(best) if inked and not rejected else None,
            "probability": math.prod(map(float, inked)) if inked else None,
            "second": as_read(second) if inked else None,
            "rejected": rejected,
            "notice": next((answer.notice for answer in self.answers), None),
            "error": self.error,
        }

    def text(self, width: int) -> str:
        """Return the line for a terminal, the name padded to `width`."""
        fields = self.fields()
        name = printable(self.name).ljust(width)
        if fields["probability"] is None:
            return f"{name}  {fields['notice']}"
        best = "".join(str(answer.ranked[0]) for answer in self.answers)
        read = f"rejected ({best}?)" if fields["rejected"] else best
        notice = f"   {fields['notice']}" if fields["notice"] else ""
        return f"{name}  {read}  {fields['probability']:7.2%}   then {fields['second']}{notice}"
