"""Random distortion of a whole batch at once, on its device; each sample has a draw of its own."""

from dataclasses import asdict, dataclass
from functools import cache

import torch
import torch.nn.functional as F
from jsonargparse.typing import ClosedUnitInterval, NonNegativeFloat
from torch import Generator, Tensor

from lenet_lightning.restricted import checked

SIDE = 28
KNOTS = 4  # a side; few enough that the elastic field is smooth without a blur
WEAKENING = 0.4  # of the epochs: the last ones


@dataclass(frozen=True)
class Distortion:
    """Affine and elastic distortion; all zero (the default) leaves images as they are.

    Affine as in LeCun et al. 1998, section III.C (shift, scale, squeeze, shear) with rotation; elastic in the spirit of
    Simard et al. 2003, but smooth by construction: random displacements on a 4x4 grid, raised bicubically.

    Args:
        rotation: largest angle to either side, degrees.
        scale: largest growth or shrinkage, as a fraction, drawn for width and height apart.
        shift: largest shift along each axis, pixels.
        shear: largest horizontal shear, pixels sideways for each pixel down.
        elastic: standard deviation of the displacement at each knot of the grid, pixels.
        end: fraction of all of these in a training's last epoch, 0 to 1; over the last 40 % of the epochs they weaken
            evenly to it.
    """

    rotation: NonNegativeFloat = 0.0
    scale: NonNegativeFloat = 0.0
    shift: NonNegativeFloat = 0.0
    shear: NonNegativeFloat = 0.0
    elastic: NonNegativeFloat = 0.0
    end: ClosedUnitInterval = 1.0

    def __post_init__(self) -> None:
        """Raise ValueError if one is negative or no number, or `end` above 1."""
        for name, value in vars(self).items():
            checked(ClosedUnitInterval if name == "end" else NonNegativeFloat, f"distortion.{name}", value)

    def __bool__(self) -> bool:
        """Return whether this changes images at all."""
        return any((self.rotation, self.scale, self.shift, self.shear, self.elastic))

    def in_epoch(self, epoch: int, epochs: int) -> "Distortion":
        """Return the distortion of `epoch`, numbered from 0, in a training of `epochs`; below 1 there is no last one.

        >>> Distortion(rotation=10, end=0.5).in_epoch(9, 10).rotation
        5.0
        """
        begun = (epoch + 1) / epochs - (1 - WEAKENING) if epochs > 0 else 0.0
        left = 1 - (1 - self.end) * max(0.0, begun) / WEAKENING
        return Distortion(**{name: value * left for name, value in asdict(self).items() if name != "end"})

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        """Return distorted copies of images (N, 1, 28, 28) with background 0; `generator` lives on their device."""
        n, device = len(images), images.device
        turn, shift = torch.pi / 180 * self.rotation, 2 / SIDE * self.shift
        most = torch.tensor([turn, self.scale, self.scale, self.shear, shift, shift], device=device)
        draws = (torch.rand(n, 6, generator=generator, device=device) * 2 - 1) * most
        angle, width, height, shear, right, down = draws.unbind(1)
        cos, sin, width, height = angle.cos(), angle.sin(), 1 + width, 1 + height
        # grid_sample takes the place in the input that an output pixel comes from: a row for x and one for y
        affine = torch.stack(
            [cos * width, (cos * shear - sin) * height, right, sin * width, (cos + shear * sin) * height, down], dim=1
        ).view(n, 2, 3)
        bend = torch.randn(n, 2, KNOTS**2, generator=generator, device=device) * (2 / SIDE * self.elastic)
        grid = torch.cat([affine, bend], dim=2) @ _basis(device)
        return F.grid_sample(images, grid.view(n, 2, SIDE, SIDE).permute(0, 2, 3, 1), align_corners=False)


@cache
def _basis(device: torch.device) -> Tensor:
    """Return the 19 fields (19, 28*28) that each distortion mixes: x, y, 1, and a bicubic bump for each knot."""
    centres = (torch.arange(SIDE) + 0.5) * 2 / SIDE - 1
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    knots = torch.eye(KNOTS**2).view(KNOTS**2, 1, KNOTS, KNOTS)
    bumps = F.interpolate(knots, size=(SIDE, SIDE), mode="bicubic", align_corners=True)
    return torch.cat([torch.stack([x, y, torch.ones_like(x)]), bumps.squeeze(1)]).flatten(1).to(device)
