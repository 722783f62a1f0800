"""How the rows of a kind look: the ranges from which one writer, and then each of his digits, is drawn."""

from dataclasses import dataclass, replace

Range = tuple[float, float]


@dataclass(frozen=True)
class Style:
    """Ranges; each is drawn from evenly, once for a row unless said otherwise. Lengths are in pixels of the row.

    Attributes:
        digits: fewest and most digits; fewer where the row is too short for them.
        gap: paper between the inks of neighbours where they are nearest, their middle for the row; 0: they touch, below
            0: they overlap by so much.
        gap_spread: largest deviation of a single gap from the row's.
        size: of the writer's digits, where MNIST's are 1.
        size_spread: largest deviation of a digit's size, as a fraction.
        slant: pixels sideways for each pixel up.
        slant_spread: largest deviation of a digit's.
        turn: largest angle of a digit to either side, radians.
        drift: how much lower the last digit is than the first.
        height_spread: largest deviation of a digit's height on the line.
        pen: thickness that is taken from (below 0) or given to a stroke.
        bend: displacement of what is written as on rubber.
        dirt: chance of specks, of broken strokes and of a ruled line, each.
        light: chance of what a photograph does: blur, low contrast, uneven light, noise.
        dark: how strong that is at most, 1 for a poor picture.
        empty: chance that nothing is written.
    """

    digits: tuple[int, int] = (5, 5)
    gap: Range = (3, 12)
    gap_spread: float = 1
    size: Range = (0.9, 1.05)
    size_spread: float = 0.03
    slant: Range = (-0.15, 0.15)
    slant_spread: float = 0.03
    turn: float = 0.03
    drift: Range = (-1, 1)
    height_spread: float = 0.5
    pen: Range = (0, 0)
    bend: float = 0
    dirt: float = 0
    light: float = 0
    dark: float = 1
    empty: float = 0


# what the reader is judged by, on rows of five
KINDS = {
    "apart": Style(),
    "touching": Style(gap=(0, 0), gap_spread=0),
    "overlapping": Style(gap=(-3, -1), gap_spread=0),
    "photographed": Style(gap=(0, 4), gap_spread=2, light=1, dark=0.8),
}

Mixture = tuple[tuple[float, Style], ...]

# what the reader is trained on, with the share of each
_HAND = Style(
    size=(0.85, 1.1),
    size_spread=0.1,
    slant=(-0.35, 0.35),
    slant_spread=0.08,
    turn=0.12,
    drift=(-2, 2),
    height_spread=1,
    pen=(-0.9, 0.9),
    bend=0.8,
    dirt=0.08,
    light=0.35,
    empty=0.01,
)
_POOR = replace(
    _HAND,
    size=(0.75, 1.15),
    size_spread=0.3,
    drift=(-4, 4),
    height_spread=2.5,
    pen=(-1.4, 1.8),
    dirt=0.2,
    light=0.5,
)
TRAINING: Mixture = (
    (0.40, replace(_HAND, digits=(2, 8), gap=(0, 12), gap_spread=3)),
    (0.38, replace(_HAND, digits=(2, 9), gap=(-3.5, 1), gap_spread=1)),
    (0.10, replace(_HAND, digits=(1, 4), gap=(8, 40), gap_spread=6)),
    (0.12, replace(_POOR, digits=(1, 8), gap=(-2, 16), gap_spread=4)),
)

# what its training ends with: mostly neat rows, and fewer of those that are hard to read
_NEAT = replace(
    _HAND,
    size=(0.88, 1.06),
    size_spread=0.05,
    slant=(-0.2, 0.2),
    slant_spread=0.05,
    turn=0.08,
    drift=(-1.5, 1.5),
    pen=(-0.4, 0.4),
    bend=0.7,
    dirt=0.02,
    light=0.2,
    dark=0.9,
    empty=0.005,
)
NEAT: Mixture = (
    (0.36, replace(_NEAT, digits=(3, 8), gap=(1, 13), gap_spread=1)),
    (0.36, replace(_NEAT, digits=(4, 9), gap=(-3, 0.4), gap_spread=0.4)),
    *((0.28 * share, style) for share, style in TRAINING),
)
MIXTURES = {"all": TRAINING, "neat": NEAT}
