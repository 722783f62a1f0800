"""Weights files made to hurt: refused in a line, within seconds and little memory, by processes that have a limit."""

import io
import os
import signal
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import helper

from tests.inference import corpus
from tests.test_weights import onnx_file, with_pickle

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

# torch alone takes some 700 MB here, onnxruntime 90
LIMITED = """
import resource, sys
from lenet_lightning.__main__ import main
code = main(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
sys.exit(code)
"""


def read(folder, name, *command):
    """(exit code, stderr, MB) of a process of its own that reads a digit with these weights."""
    corpus.drawn(*corpus.FOUR, side=100).save(folder / "one.png")
    args = command or ("predict", "one.png", "--weights", name)
    # not exec: a process counts what the one that became it took as its own
    line = ["bash", "-c", 'ulimit -v 16000000 -t 40; "$@"; exit $?', "-", sys.executable, "-c", LIMITED, *args]
    done = subprocess.run(line, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stderr, int(done.stdout.split()[-1])


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    """What the process takes when it refuses a file at once, in MB, by the file's ending."""
    folder = tmp_path_factory.mktemp("usual")
    taken = {}
    for suffix in (".pth", ".safetensors", ".onnx"):
        (folder / f"w{suffix}").write_bytes(b"damaged")
        taken[suffix] = read(folder, f"w{suffix}")[2]
    return taken


def bomb(path):
    """2 MB that unpack to 1 GB, and claim to be a tensor of as many bytes."""
    saved, count = io.BytesIO(), 2**30 // 4
    torch.save({"conv1.weight": torch.zeros(1)}, saved)
    source = zipfile.ZipFile(saved)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in source.namelist():
            record = source.read(name)
            if name.endswith("data.pkl"):
                claimed = b"\x8a\x05" + count.to_bytes(5, "little")
                assert b"q\x06K\x01t" in record
                record = record.replace(b"q\x06K\x01t", b"q\x06" + claimed + b"t")
            if name.endswith("/data/0"):
                with archive.open(name, "w") as entry:
                    for _ in range(64):
                        entry.write(bytes(2**24))
            else:
                archive.writestr(name, record)


def many_entries(path):
    """A directory of a million entries."""
    entry = struct.pack("<4s4B4HL2L5H2L", b"PK\x01\x02", 20, 3, 20, 0, 0, 0, 0, 33, 0, 0, 0, 1, *[0] * 6) + b"x"
    body = b"PK\x03\x04" + entry * 1_000_000
    path.write_bytes(body + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0, 0, len(body) - 4, 4, 0))


def hashed(path):
    """A dict whose key is a tuple of two tuples of two tuples ...: a hash that takes 2**60 steps in C."""
    with_pickle(path, b"\x80\x02})q\x00" + b"h\x00\x86q\x00" * 60 + b"K\x01s.")


def deep(path):
    """A dict whose key is 200,000 tuples in each other: their hash is more than the stack holds."""
    with_pickle(path, b"\x80\x02})" + b"\x85" * 200_000 + b"K\x01s.")


def bytearray_of_gigabytes(path):
    with_pickle(path, b"\x80\x02c__builtin__\nbytearray\n\x8a\x05" + (4 * 2**30).to_bytes(5, "little") + b"\x85R.")


def names(path):
    torch.save({f"{at}": torch.zeros(1) for at in range(200_000)}, path)


def sparse_tail(path):
    """A good header whose last tensor has 12 GB."""
    header = b'{"x": {"dtype": "F32", "shape": [3221225472], "data_offsets": [0, 12884901888]}}'
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + 12 * 2**30)


def doubled(path):
    """Forty times a tensor and itself: 2**40 values out of one."""
    nodes = [helper.make_node("Concat", [f"x{at}"] * 2, [f"x{at + 1}"], axis=0) for at in range(40)]
    summed = [helper.make_node("ReduceSum", ["x40"], ["sum"], keepdims=0)]
    add = [helper.make_node("Add", ["first", "sum"], ["logits"])]
    onnx_file(path, nodes + summed + add, {"x0": np.ones((1, 1), np.float32)})


def wide(path):
    sides = np.array([100_000, 100_000], np.int64)
    nodes = [
        helper.make_node("ConstantOfShape", ["sides"], ["wide"]),
        helper.make_node("ReduceSum", ["wide"], ["sum"], keepdims=0),
        helper.make_node("Add", ["first", "sum"], ["logits"]),
    ]
    onnx_file(path, nodes, {"sides": sides})


def nodes_by_the_million(path):
    graph = b"\x0a\x00" * 20_000_000
    path.write_bytes(b"\x3a" + bytes([0x80, 0xB4, 0x89, 0x13]) + graph)


def loop(path):
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["goes"]), helper.make_node("Identity", ["x"], ["y"])],
        "body",
        [helper.make_tensor_value_info(*each) for each in (("at", 7, []), ("go", 9, []), ("x", 1, ["N", 10]))],
        [helper.make_tensor_value_info(*each) for each in (("goes", 9, []), ("y", 1, ["N", 10]))],
    )
    nodes = [helper.make_node("Loop", ["most", "yes", "first"], ["logits"], body=body)]
    onnx_file(path, nodes, {"most": np.array(2**62), "yes": np.array(True)})


def slow(path):
    """The largest of each 4 million neighbours, 16 million times: hours within one operator."""
    nodes = [
        helper.make_node("Expand", ["one", "sides"], ["wide"]),
        helper.make_node("MaxPool", ["wide"], ["best"], kernel_shape=[2_000, 2_000]),
        helper.make_node("ReduceSum", ["best"], ["sum"], keepdims=0),
        helper.make_node("Add", ["first", "sum"], ["logits"]),
    ]
    onnx_file(path, nodes, {"one": np.ones((1, 1, 1, 1), np.float32), "sides": np.array([1, 1, 6_000, 6_000])})


HOSTILE = {
    ".pth": (bomb, many_entries, hashed, deep, bytearray_of_gigabytes, names),
    ".safetensors": (sparse_tail,),
    ".onnx": (doubled, wide, nodes_by_the_million, loop, slow),
}


@pytest.mark.parametrize(
    "make, suffix", [pytest.param(make, suffix, id=make.__name__) for suffix in HOSTILE for make in HOSTILE[suffix]]
)
def test_a_hostile_file_is_a_line_and_takes_no_memory(tmp_path, usual, make, suffix):
    name = f"w{suffix}"
    make(tmp_path / name)
    start = time.perf_counter()
    code, err, used = read(tmp_path, name)
    assert (code, err.count("\n"), err.startswith(f"error: {name}: ")) == (1, 1, True), err[:500]
    assert len(err) < 450
    assert time.perf_counter() - start < 30
    # the arena that ONNX Runtime computes in is bounded, and at most 100 MB are read
    assert used - usual[suffix] < (600 if suffix == ".onnx" else 250)


@pytest.mark.parametrize("command", ["fit", "validate", "test"])
def test_a_checkpoint_that_unpacks_to_gigabytes_is_refused_by_every_command(tmp_path, usual, command):
    bomb(tmp_path / "w.ckpt")
    (tmp_path / "data").symlink_to(ROOT / "nowhere")
    code, err, used = read(tmp_path, None, command, "--ckpt_path", "w.ckpt")
    assert code in (1, 2)
    assert "w.ckpt: cannot be loaded: it is compressed" in err
    assert used - usual[".pth"] < 500  # Lightning's imports


def test_sigterm_ends_a_file_that_takes_hours(tmp_path):
    slow(tmp_path / "w.onnx")
    corpus.drawn(*corpus.FOUR, side=100).save(tmp_path / "one.png")
    line = [sys.executable, "-m", "lenet_lightning", "predict", "one.png", "--weights", "w.onnx"]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with subprocess.Popen(line, cwd=tmp_path, env=ENVIRONMENT, **pipes) as process:
        time.sleep(2)
        process.send_signal(signal.SIGTERM)
        start = time.perf_counter()
        process.communicate(timeout=20)
        assert time.perf_counter() - start < 3 or process.returncode == 1  # on a busy machine its time was up before
    assert process.returncode in (143, -signal.SIGTERM, 1)
