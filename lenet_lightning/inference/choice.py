"""Choose what the page shows of a picture: one digit, or the digits of its rows."""

from typing import NamedTuple

import numpy as np

from lenet_lightning.inference.line_answers import LineAnswer
from lenet_lightning.inference.picture import Framed, FramedRows
from lenet_lightning.inference.recognizer import Answer, Recognizer

_SURE = 0.9  # of a row of two
# of more: of the 2,112 broad ones of MNIST's last 10,000 training digits one passes for three, at 0.3 %
_LIKELY = 0.5

Read = tuple[Answer, dict[str, np.ndarray]]  # of one digit, with what each stage makes of it


class Reading(NamedTuple):
    """What is predicted for a picture: one digit, or several with their text ("/" between rows) and probability."""

    digits: list[Read]
    text: str = ""
    probability: float | None = None


def read(recognizer: Recognizer, one: Framed, rows: FramedRows | None) -> Reading:
    """Predict the one digit in a picture, or those of its rows if they are several.

    Arguments are what `one_or_row.frame` returns.
    """
    alone = recognizer.inside(one)
    line = rows and recognizer.rows_answer(rows)
    digits = [digit for row in line.rows for digit in row.digits] if line else []
    if not line or len(digits) < 2 or (one.notice is None and not _is_likelier(line, len(digits), alone[0])):
        return Reading([alone])
    several = [
        (
            Answer(each.digit, each.probabilities, False, each.seen, line.notice),
            recognizer.inside(Framed(each.seen))[1],
        )
        for each in digits
    ]
    return Reading(several, line.text, line.probability)


def _is_likelier(line: LineAnswer, count: int, alone: Answer) -> bool:
    """Return whether what looks like one broad digit is a row: the network of digits may be sure of several as one."""
    assert alone.probabilities is not None
    return (line.probability or 0) > (_LIKELY if count > 2 else min(_SURE, alone.probabilities.max()))
