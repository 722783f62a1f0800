"""What `predict` reports of one picture: as a line of text, and as plain values."""

from dataclasses import dataclass
from typing import Any, BinaryIO

from lenet_lightning.errors import printable
from lenet_lightning.inference.line_answers import LineAnswer
from lenet_lightning.inference.recognizer import Answer

FIELDS = ("picture", "digit", "probability", "second", "rejected", "notice", "error")


@dataclass(frozen=True, slots=True)  # there may be a million of them
class Row:
    """One picture with its answers, or with the reason why it was not read.

    Attributes:
        source: what to read, a path or an open file; None if it cannot be.
        name: as printed.
        answer: of a picture that holds one digit.
        lines: of one that holds rows of digits (`--line`).
        error: why it was not read, or None.
    """

    source: str | BinaryIO | None
    name: str
    answer: Answer | None = None
    lines: LineAnswer | None = None
    error: str | None = None

    def fields(self) -> dict[str, Any]:
        """Return plain values by the names in FIELDS, as JSON and CSV have them.

        With `--line`, digit and second are strings of digits, with "/" between the rows, and probability is that of all
        rows together; JSON has `rows`, too: of each row its digit, probability and digits, of each of these its digit,
        probability and box (left, top, right and bottom, in pixels of the picture).
        """
        values: dict[str, Any] = dict.fromkeys(FIELDS) | {"picture": self.name, "rejected": False, "error": self.error}
        if self.lines:
            values |= _of_rows(self.lines)
        elif self.answer:
            values |= _of_digit(self.answer)
        return values

    def text(self, width: int) -> str:
        """Return the line for a terminal, the name padded to `width`."""
        fields = self.fields()
        name = printable(self.name).ljust(width)
        if fields["probability"] is None:
            return f"{name}  {fields['notice']}"
        best = self.lines.text if self.lines else str(self.answer.ranked[0]) if self.answer else ""
        read = f"rejected ({best}?)" if fields["rejected"] else best
        notice = f"   {fields['notice']}" if fields["notice"] else ""
        return f"{name}  {read}  {fields['probability']:7.2%}   then {fields['second']}{notice}"


def _of_digit(answer: Answer) -> dict[str, Any]:
    values = {"rejected": answer.rejected, "notice": answer.notice}
    if answer.probabilities is None:
        return values
    probability = float(answer.probabilities.max())
    return values | {"digit": answer.digit, "probability": probability, "second": answer.ranked[1]}


def _of_rows(lines: LineAnswer) -> dict[str, Any]:
    rows = [
        {
            "digit": None if row.rejected else row.text,
            "probability": row.probability,
            "digits": [
                {"digit": each.digit, "probability": each.probability, "box": [round(side, 1) for side in each.box]}
                for each in row.digits
            ],
        }
        for row in lines.rows
    ]
    values = {"rejected": lines.rejected, "notice": lines.notice, "rows": rows}
    if not rows:
        return values
    digit = None if lines.rejected else lines.text
    return values | {"digit": digit, "probability": lines.probability, "second": lines.second}
