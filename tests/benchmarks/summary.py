"""How figures over several seeds are written: mean, sd, n and the 95 % t-interval of the mean."""

import statistics

from scipy.special import stdtrit


def spread(values: list[float], digits: int = 2) -> str:
    """Give mean and, of more than one, sd in brackets."""
    sd = f" ({statistics.stdev(values):,.{digits}f})" if len(values) > 1 else ""
    return f"{statistics.mean(values):,.{digits}f}{sd}"


def interval(values: list[float], digits: int = 2) -> str:
    """Give the 95 % t-interval of the mean; of a single value, none."""
    if len(values) < 2:
        return ""
    half = stdtrit(len(values) - 1, 0.975) * statistics.stdev(values) / len(values) ** 0.5
    return f"{statistics.mean(values) - half:,.{digits}f} to {statistics.mean(values) + half:,.{digits}f}"


def full(values: list[float], digits: int = 2) -> str:
    """Give mean, sd and, on a second line of a table's cell, the interval; of no values, nothing."""
    return f"{spread(values, digits)}<br>{interval(values, digits)}" if values else ""
