"""How figures over several seeds are written: mean, sd, n and the 95 % t-interval of the mean."""

import statistics

from scipy.special import stdtrit


def spread(values: list[float], digits: int = 2) -> str:
    """Give mean and, of more than one, sd in brackets."""
    sd = f" ({statistics.stdev(values):,.{digits}f})" if len(values) > 1 else ""
    return f"{statistics.mean(values):,.{digits}f}{sd}"


def half_width(values: list[float]) -> float:
    """Give half the width of the 95 % t-interval of the mean; of a single value, 0."""
    n = len(values)
    return float(stdtrit(n - 1, 0.975) * statistics.stdev(values) / n**0.5) if n > 1 else 0.0


def interval(values: list[float], digits: int = 2) -> str:
    """Give the 95 % t-interval of the mean; of a single value, none."""
    if len(values) < 2:
        return ""
    mean, half = statistics.mean(values), half_width(values)
    return f"{mean - half:,.{digits}f} to {mean + half:,.{digits}f}"


def full(values: list[float], digits: int = 2) -> str:
    """Give mean, sd and, on a second line of a table's cell, the interval; of no values, nothing."""
    return f"{spread(values, digits)}<br>{interval(values, digits)}" if values else ""
