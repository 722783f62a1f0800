"""Arguments from Python in the ranges that the command line holds them to."""

from typing import Any


def checked(kind: Any, name: str, value: Any) -> Any:
    """Return `value` as a plain number or text, once it is one of `kind`, a restricted type of jsonargparse.

    Raises:
        ValueError: it is not; the message begins with `name`.
    """
    try:
        return kind.__base__(kind(value))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name}: {error}") from error
