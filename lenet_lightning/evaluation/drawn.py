"""A figure that a notebook shows."""

from io import BytesIO

from matplotlib.figure import Figure


class Drawn(Figure):
    """A figure that a notebook shows as a picture, with or without `%matplotlib inline`."""

    def _repr_png_(self) -> bytes:
        picture = BytesIO()
        self.savefig(picture, format="png", dpi=80)
        return picture.getvalue()
