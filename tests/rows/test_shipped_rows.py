import hashlib

from lenet_lightning.rows.reader import SHIPPED


def test_the_shipped_file_is_the_one_that_the_benchmark_wrote():
    """By the commands in docs/zipcode.md."""
    content = SHIPPED.read_bytes()
    assert hashlib.sha256(content).hexdigest() == "SUM"
