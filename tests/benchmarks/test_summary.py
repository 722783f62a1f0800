"""The statistics under README's tables."""

from tests.benchmarks.summary import full, interval, spread


def test_mean_sd_and_the_t_interval():
    # by hand: sd 1, t of 2 degrees of freedom 4.3027, half of the interval 4.3027 / sqrt(3) = 2.4841
    assert spread([1.0, 2.0, 3.0]) == "2.00 (1.00)"
    assert interval([1.0, 2.0, 3.0]) == "-0.48 to 4.48"
    assert full([1000.0, 2000.0, 3000.0], 0) == "2,000 (1,000)<br>-484 to 4,484"


def test_one_value_has_no_spread():
    assert spread([5.0]) == "5.00"
    assert interval([5.0]) == ""
