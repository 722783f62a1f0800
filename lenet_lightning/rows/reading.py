"""What is read of a row: its digits, where they are, and how sure."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Digit:
    """A digit of a row.

    Attributes:
        digit: 0 to 9.
        probability: that there is this one digit between its neighbours, 0 to 1.
        probabilities: (10,), of the ten digits, given that there is one; they add up to 1.
        left: column of the strip where its ink begins, pixels.
        right: column where it ends, above `left`.
    """

    digit: int
    probability: float
    probabilities: NDArray[np.float64]
    left: float
    right: float


@dataclass(frozen=True)
class Reading:
    """The prediction for a strip.

    Attributes:
        digits: from left to right; none where nothing is written.
        probability: that all of them are right and none is missing, 0 to 1: the sum over all alignments, calibrated.
        second: the next probable digits; "" if that is none.
    """

    digits: tuple[Digit, ...]
    probability: float
    second: str

    def __str__(self) -> str:
        """Return the digits."""
        return "".join(str(each.digit) for each in self.digits)
