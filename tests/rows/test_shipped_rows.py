import hashlib

from lenet_lightning.rows.reader import SHIPPED


def test_the_shipped_file_is_the_one_that_the_benchmark_wrote():
    """By the commands in docs/zipcode.md."""
    content = SHIPPED.read_bytes()
    assert hashlib.sha256(content).hexdigest() == "c0cc9cda8407534fa22bbfd90c389c1d665416ccd56b050cadeb63f5fcadcc33"
