"""Random and damaged input: an answer, or one of the two errors that end a command; never anything else."""

import contextlib
import io
import struct

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from lenet_lightning import LeNet5, weights
from lenet_lightning.__main__ import main
from lenet_lightning.errors import RunError, UsageError
from lenet_lightning.inference import formats, picture
from tests.inference import telephone

# the same examples every time: a failure here should be one everywhere
bounded = settings(
    max_examples=150, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)

pytestmark = pytest.mark.timeout(300)


def files():
    """The bytes of a good file of each kind of weights."""
    network = LeNet5()
    facts = {"mean": 0.1307, "std": 0.3081}
    saved = io.BytesIO()
    torch.save(network.state_dict(), saved)
    return {".safetensors": weights.pack(network.state_dict(), facts), ".pth": saved.getvalue()}


GOOD_WEIGHTS = files()


def pictures():
    grey = np.tile(np.linspace(0, 255, 40).astype(np.uint8), (30, 1))
    made = {}
    for kind in formats.FORMATS:
        stream = io.BytesIO()
        Image.fromarray(grey).save(stream, kind)
        made[kind] = stream.getvalue()
    made["HEIC"] = telephone.heic_bytes(Image.fromarray(grey))
    return made


GOOD_PICTURES = pictures()


@st.composite
def damaged(draw, good):
    """A good file, cut, with bytes changed, repeated or put in; or bytes that were never a file."""
    content = bytearray(draw(st.sampled_from(sorted(good.values()))))
    for _ in range(draw(st.integers(0, 6))):
        # most of a weights file is weights; headers are at the ends
        near = draw(st.sampled_from([min(200, len(content)), len(content)]))
        at = draw(st.integers(0, max(0, near - 1)))
        at = draw(st.sampled_from([at, len(content) - 1 - at]))
        patch = draw(st.one_of(st.binary(max_size=8), st.integers(0, 2**64 - 1).map(lambda n: struct.pack("<Q", n))))
        content[at : at + draw(st.integers(0, 8))] = patch
    return bytes(content[: draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))])


@bounded
@given(suffix=st.sampled_from(weights.SUFFIXES), content=damaged(GOOD_WEIGHTS))
def test_any_weights_file_is_read_or_refused(tmp_path_factory, suffix, content):
    path = tmp_path_factory.getbasetemp() / f"fuzzed{suffix}"
    path.write_bytes(content)
    try:
        network, _ = weights.load(path)
    except (RunError, UsageError) as error:
        assert "\n" not in str(error)
    else:
        assert sum(p.numel() for p in network.parameters()) == 61_706


@bounded
@given(content=damaged(GOOD_PICTURES), invert=st.sampled_from(picture.INVERT))
def test_any_picture_is_framed_or_refused(content, invert):
    try:
        framed = picture.frame(io.BytesIO(content), invert)
    except RunError as error:
        assert "\n" not in str(error)
    else:
        assert framed.pixels is None or (framed.pixels.shape == (28, 28) and framed.pixels.max() == 255)


@bounded
@given(
    shape=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(["noise", "blocks", "few"]),
    invert=st.sampled_from(picture.INVERT),
)
def test_any_array_is_framed(shape, seed, kind, invert):
    rng = np.random.default_rng(seed)
    grey = rng.integers(0, 256, shape, np.uint8)
    if kind == "blocks":
        grey = np.kron(rng.integers(0, 2, shape, np.uint8) * 255, np.ones((3, 3), np.uint8))
    if kind == "few":
        grey = np.where(rng.random(shape) < 0.02, 0, 255).astype(np.uint8)
    parts = (part for line in picture.frame_rows(grey, invert).found[0].lines for part in line.parts)
    for pixels in (picture.frame(grey, invert).pixels, *(part.image for part in parts)):
        assert pixels is None or (pixels.shape == (28, 28) and pixels.max() == 255)


KEYS = st.sampled_from(
    ["data", "model", "trainer", "seed_everything", "max_epochs", "batch_size", "optimizer", "x", ""]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@settings(bounded, max_examples=40)
@given(config=st.one_of(st.dictionaries(KEYS, VALUES, max_size=4), st.text(max_size=40), st.binary(max_size=40)))
def test_any_config_is_understood_or_refused(tmp_path_factory, config):
    import yaml

    path = tmp_path_factory.getbasetemp() / "fuzzed.yaml"
    path.write_bytes(
        config
        if isinstance(config, bytes)
        else (config if isinstance(config, str) else yaml.safe_dump(config)).encode()
    )
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(["fit", "--config", str(path), "--print_config"])
        except SystemExit as end:  # how jsonargparse ends once it has printed
            code = end.code
    assert code in (0, 1, 2), err.getvalue()
    assert "Traceback" not in err.getvalue()
    assert code == 0 or (err.getvalue().startswith("error: ") and err.getvalue().count("\n") <= 5), err.getvalue()
    # an error that nobody foresaw names its class
    assert "Error: " not in err.getvalue().removeprefix("error: ")[:30], err.getvalue()
