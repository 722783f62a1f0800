"""What the data module is told: the ranges of its arguments, and the data set that they name."""

from jsonargparse.typing import restricted_number_type, restricted_string_type

from lenet_lightning.data import files
from lenet_lightning.data.files import TRAIN_SIZE, IdxFile
from lenet_lightning.errors import UsageError
from lenet_lightning.restricted import checked

BatchSize = restricted_number_type("BatchSize", int, [(">", 0), ("<=", TRAIN_SIZE)], docstring="1 to 60,000")
ValidationSize = restricted_number_type("ValidationSize", int, [(">=", 0), ("<", TRAIN_SIZE)], docstring="0 to 59,999")
SplitSeed = restricted_number_type("SplitSeed", int, [(">=", 0), ("<", 2**63)], docstring="from 0 to below 2^63")
FolderName = restricted_string_type("FolderName", r"\w[\w.-]{0,99}", docstring="letters, digits, _, - and .")
Sum = restricted_string_type("Sum", "[0-9a-f]{64}", docstring="64 signs, 0-9 and a-f")
# with others, no weights file would be read
Mean = restricted_number_type("Mean", float, [(">=", -1e6), ("<=", 1e6)], docstring="from -1e6 to 1e6")
Std = restricted_number_type("Std", float, [(">=", 1e-6), ("<=", 1e6)], docstring="from 1e-6 to 1e6")


def data_set(name: str | None, sums: tuple[str, ...] | None) -> tuple[str, tuple[IdxFile, ...]]:
    """Return the name and the four files of MNIST or, where `name` and `sums` are given, of that data set.

    Raises:
        UsageError: there is one of them alone.
        ValueError: one is out of its range.
    """
    if (name is None) != (sums is None):
        raise UsageError(
            "data.name and data.sums must be given together, for a data set other than MNIST, got "
            f"{'no sums' if sums is None else 'no name'}"
        )
    if not sums:
        return "MNIST", files.FILES
    four = (file._replace(sha256=checked(Sum, "sums", each)) for file, each in zip(files.FILES, sums, strict=True))
    return checked(FolderName, "name", name), tuple(four)
