import hashlib
import io
import json
import resource
import struct
import time
import zipfile

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from safetensors.torch import save_file

from lenet_lightning import LeNet5, Recognizer, weights
from lenet_lightning.errors import RunError, UsageError
from lenet_lightning.metadata import METADATA_KEY
from lenet_lightning.metadata import NETWORKS as NAMES
from lenet_lightning.networks import NETWORKS


@pytest.fixture(autouse=True)
def without_mnist(tmp_path, monkeypatch):
    """Where it is at hand, weights of others are tried on it."""
    monkeypatch.chdir(tmp_path)


METADATA = {"network": "lenet5", "mean": 0.1307, "classes": list("0123456789")}


def test_the_shipped_file_is_the_one_that_make_weights_made():
    content = weights.SHIPPED.read_bytes()
    assert hashlib.sha256(content).hexdigest() == "f9f38e22f338e788a7d435e4e331f959b17c84d87b13f3495569c7770e5b74fe"
    _, metadata = weights.read(weights.SHIPPED)
    assert metadata["test/acc"] >= 0.9935  # the bound of default.yaml


def test_what_is_written_is_read(tmp_path):
    state = LeNet5().state_dict()
    weights.write(state, METADATA, tmp_path / "w.safetensors")
    read, metadata = weights.read(tmp_path / "w.safetensors")
    assert metadata == weights.metadata_of("lenet5") | METADATA  # the rest is its network's
    assert read.keys() == state.keys()
    assert all(torch.equal(read[name], state[name]) for name in state)


def test_equal_weights_are_equal_files(tmp_path):
    state = LeNet5().state_dict()
    weights.write(state, METADATA, tmp_path / "a.safetensors")
    weights.write(state, dict(reversed(METADATA.items())), tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


@pytest.mark.parametrize("size", [0, 5, 1_000, 200_000])
def test_a_truncated_file_is_refused(tmp_path, size):
    weights.write(LeNet5().state_dict(), METADATA, tmp_path / "w.safetensors")
    (tmp_path / "w.safetensors").write_bytes((tmp_path / "w.safetensors").read_bytes()[:size])
    with pytest.raises(RunError, match="damaged"):
        weights.read(tmp_path / "w.safetensors")


def test_a_file_of_another_project_is_refused(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(RunError):
        weights.read(tmp_path / "w.safetensors")


def test_a_missing_file_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="no such"):
        weights.read(tmp_path / "none.safetensors")


def test_a_full_disk_is_an_os_error_and_leaves_the_older_file(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"older")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError):
            weights.write(LeNet5().state_dict(), METADATA, tmp_path / "w.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"older"]


BLACK = np.zeros((2, 28, 28), np.uint8)


def refusal(path):
    """The line with which a file is refused."""
    with pytest.raises(RunError) as refused:
        Recognizer(path)
    line = str(refused.value)
    assert line.startswith(f"{path}: ")
    assert line.isprintable()
    assert len(line) <= len(str(path)) + 400
    return line


def onnx_file(path, nodes=(), constants=None, text=None, batch="N", **options):
    """An ONNX file of one linear layer, whose logits `first` the nodes turn into `logits`."""
    nodes = nodes or [helper.make_node("Identity", ["first"], ["logits"])]
    nodes = [
        helper.make_node("Flatten", ["pixels"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weight"], ["first"]),
        *nodes,
    ]
    constants = {"weight": np.zeros((784, 10), np.float32)} | (constants or {})
    shapes = {"pixels": [batch, 1, 28, 28], "logits": [batch, 10]}
    (pixels, logits) = (helper.make_tensor_value_info(name, 1, shape) for name, shape in shapes.items())
    held = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "graph", [pixels], [logits], held)
    options = {"opset_imports": [helper.make_opsetid("", 20)], "ir_version": 10} | options
    model = helper.make_model(graph, **options)
    if text is not None:
        helper.set_model_props(model, {METADATA_KEY: text})
    path.write_bytes(model.SerializeToString())
    return path


def with_metadata(path, text):
    """A good file of the format that the path ends with, with this metadata, JSON as text."""
    state = LeNet5().state_dict()
    if path.suffix == ".onnx":
        onnx_file(path, text=text)
    elif path.suffix == ".safetensors":
        save_file(state, path, {METADATA_KEY: text})
    else:
        fields = json.loads(text)
        kept = {f"network.{name}": values for name, values in state.items()}
        pixels = {name: fields[name] for name in ("mean", "std") if name in fields}
        network = {name: fields[name] for name in ("network",) if name in fields}
        torch.save(
            {"state_dict": kept, "hyper_parameters": network, "datamodule_hyper_parameters": pixels},
            path,
        )
    return path


INVALID = {
    "network": ["lenet6", "\x1b[31mred\nerror: x", None, ["lenet5"], 5, True],
    "mean": [float("nan"), float("inf"), 1e300, "0.1", [1, 2], None, True],
    "std": [0, -1, 1e-300, 1e300, float("nan"), float("inf"), "1", {"a": 1}, False],
}
OTHERS = {
    "classes": [["0", "1"], list(range(10)), "0123456789", None],
    "parameters": [0, 1.5, "61706", True],
    "seed": [-1, 1.5, "1", True],
    "test/acc": [-0.1, 1.1, 1e308, float("nan"), "\x1b[31m<script>", [1], None, True],
    "test/loss": [float("nan"), float("inf"), "1", True],
}


@pytest.mark.parametrize(
    "suffix, name",
    [(s, n) for s in ("safetensors", "ckpt") for n in INVALID]
    + [("onnx", n) for n in INVALID | OTHERS]
    + [("safetensors", n) for n in OTHERS],
)
def test_metadata_of_a_wrong_type_or_range_is_refused_by_the_fields_name(tmp_path, suffix, name):
    for value in (INVALID | OTHERS)[name]:
        path = with_metadata(tmp_path / f"w.{suffix}", json.dumps({name: value}))
        assert f" {name} must be " in refusal(path)


@pytest.mark.parametrize("suffix", ["safetensors", "onnx"])
@pytest.mark.parametrize(
    "text", ["[" * 50_000, "[" * 5_000_000, "5", '[["mean", 1]]', "{", '{"mean": ' + "1" * 5_000 + "}", ""]
)
def test_metadata_that_is_no_object_too_deep_or_too_large_is_refused(tmp_path, suffix, text):
    refusal(with_metadata(tmp_path / f"w.{suffix}", text))


@pytest.mark.parametrize("suffix", ["safetensors", "onnx"])
def test_metadata_of_others_is_ignored(tmp_path, suffix):
    text = json.dumps({"mean": 0.25, "theirs": "\x1b[31m", "notes": [[1]]})
    metadata = Recognizer(with_metadata(tmp_path / f"w.{suffix}", text)).metadata
    assert metadata["mean"] == 0.25
    assert not metadata.keys() & {"theirs", "notes"}


def test_every_network_is_known_by_its_name():
    assert tuple(NETWORKS) == NAMES


def replaced(tensor):
    return LeNet5().state_dict() | {"linear3.bias": tensor}


def quantised():
    return torch._empty_affine_quantized([10], scale=0.1, zero_point=0, dtype=torch.qint8)


NO_WEIGHTS = {
    "complex": lambda: torch.zeros(10, dtype=torch.complex64),
    "int": lambda: torch.zeros(10, dtype=torch.int8),
    "bool": lambda: torch.zeros(10, dtype=torch.bool),
    "sparse": lambda: torch.zeros(10).to_sparse(),
    "quantised": quantised,
    "meta": lambda: torch.empty(10, device="meta"),
    "expanded": lambda: torch.zeros(1).expand(10**13),
    "another shape": lambda: torch.zeros(10, 1),
    "beyond float32": lambda: torch.full((10,), 1e300, dtype=torch.float64),
    "not finite": lambda: torch.full((10,), torch.nan),
}


@pytest.mark.filterwarnings("ignore")  # torch's, of quantised tensors
@pytest.mark.parametrize("kind", NO_WEIGHTS)
def test_tensors_other_than_finite_real_floats_are_refused(tmp_path, kind):
    torch.save(replaced(NO_WEIGHTS[kind]()), tmp_path / "w.pth")
    refusal(tmp_path / "w.pth")
    torch.save({"state_dict": {"network.x": NO_WEIGHTS[kind]()}}, tmp_path / "w.ckpt")
    refusal(tmp_path / "w.ckpt")


@pytest.mark.parametrize("kind", ["complex", "int", "bool", "another shape", "beyond float32", "not finite"])
def test_safetensors_other_than_finite_real_floats_are_refused(tmp_path, kind):
    save_file(replaced(NO_WEIGHTS[kind]()), tmp_path / "w.safetensors", {METADATA_KEY: "{}"})
    assert "linear3.bias" in refusal(tmp_path / "w.safetensors")


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_real_floats_are_read_as_float32(tmp_path, kind):
    state = {name: values.to(kind) for name, values in LeNet5().state_dict().items()}
    torch.save(state, tmp_path / "w.pth")
    save_file(state, tmp_path / "w.safetensors", {METADATA_KEY: "{}"})
    for name in ("w.pth", "w.safetensors"):
        read, _ = weights.read(tmp_path / name)
        assert all(values.dtype == torch.float32 for values in read.values())
        assert all(torch.equal(values, state[each].float()) for each, values in read.items())


@pytest.mark.parametrize("parameters", [False, True])
@pytest.mark.parametrize("zipped", [False, True])
def test_what_torch_saves_is_read_in_both_of_its_formats(tmp_path, zipped, parameters):
    network = LeNet5()
    state = dict(network.named_parameters()) if parameters else network.state_dict()
    torch.save(state, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    read, _ = weights.read(tmp_path / "w.pth")
    assert all(torch.equal(read[name], values) for name, values in network.state_dict().items())


def test_weights_that_answer_with_nan_are_named_in_the_error(tmp_path):
    # each is finite, their sum is not
    state = {name: torch.full_like(values, 3e38) for name, values in LeNet5().state_dict().items()}
    torch.save(state, tmp_path / "w.pth")
    recognizer = Recognizer(tmp_path / "w.pth")
    with pytest.raises(RunError, match=r"w\.pth: must return finite logits"):
        recognizer.logits(BLACK)


def zip_of(path, change=lambda records: None, **options):
    """A .pth written anew with its records by name changed."""
    saved = io.BytesIO()
    torch.save({"conv1.weight": torch.zeros(1)}, saved)
    with zipfile.ZipFile(saved) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    change(records)
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, record in records.items():
            archive.writestr(name, record)
    return path


def with_pickle(path, content):
    return zip_of(path, lambda records: records.update({"archive/data.pkl": content}))


def test_a_compressed_zip_is_refused(tmp_path):
    assert "compressed" in refusal(zip_of(tmp_path / "w.pth", compression=zipfile.ZIP_DEFLATED))


def test_a_zip_whose_entries_overlap_is_refused(tmp_path):
    large = "archive/data/0"
    content = zip_of(tmp_path / "w.pth", lambda records: records.update({large: bytes(1_000_000)})).read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entry, start = archive.getinfo(large), archive.start_dir
    directory, end = content[start:-22], content[-22:]
    header = struct.pack(
        "<4s4B4HL2L5H2L",
        b"PK\x01\x02",
        20,
        3,
        20,
        0,
        0,
        0,
        0,
        33,
        entry.CRC,
        *[10**6] * 2,
        14,
        0,
        0,
        0,
        0,
        0,
        entry.header_offset,
    )
    more = b"".join(header + f"archive/data/{at}".encode() for at in range(1, 10))
    end = struct.pack(
        "<4s4H2LH", b"PK\x05\x06", 0, 0, *[len(archive.infolist()) + 9] * 2, len(directory + more), start, 0
    )
    (tmp_path / "w.pth").write_bytes(content[:start] + directory + more + end)
    assert "more bytes than it has" in refusal(tmp_path / "w.pth")


def test_a_pickle_under_a_name_that_torch_finds_too_is_checked(tmp_path):
    def upper(records):
        records["archive/DATA.PKL"] = bytearray_pickle(10)
        del records["archive/data.pkl"]

    assert "something other than tensors" in refusal(zip_of(tmp_path / "w.pth", upper))


def test_a_torchscript_archive_is_named(tmp_path):
    path = zip_of(tmp_path / "w.pt", lambda records: records.update({"archive/constants.pkl": b""}))
    assert "TorchScript" in refusal(path)


def bytearray_pickle(size):
    return b"\x80\x02c__builtin__\nbytearray\n\x8a\x06" + size.to_bytes(6, "little") + b"\x85R."


def test_a_pickle_that_asks_for_memory_by_a_number_is_refused(tmp_path):
    assert "something other than tensors" in refusal(with_pickle(tmp_path / "w.pth", bytearray_pickle(10**10)))


NESTED = {
    "each list holds the one before twice": b"]q\x00" + b"](h\x00h\x00eq\x00" * 40,
    "each tuple holds the one before twice": b")q\x00" + b"h\x00\x86q\x00" * 40,
    "deep lists": b"]" * 30_000 + b"a" * 29_999,
    "deep tuples": b")" + b"\x85" * 1_000,
    "a list within itself": b"]q\x00h\x00a",
}


@pytest.mark.parametrize("what", NESTED)
def test_values_that_take_forever_to_copy_or_to_hash_are_refused(tmp_path, what):
    with pytest.raises(RunError, match=r"too many values|more than"):
        weights.unpickle(with_pickle(tmp_path / "w.ckpt", b"\x80\x02" + NESTED[what] + b"."))


def test_a_pickle_of_more_than_names_and_shapes_is_refused(tmp_path):
    content = b"\x80\x02]q\x00(" + b"K\x01" * 200_000 + b"e."
    assert "data.pkl must have at most" in refusal(with_pickle(tmp_path / "w.pth", content))


def test_attributes_from_the_file_hide_no_method(tmp_path):
    state = LeNet5().state_dict()
    vars(state).update(keys="x", values=5, _metadata=[1])
    torch.save(state, tmp_path / "w.pth")
    weights.read(tmp_path / "w.pth")
    assert not vars(weights.unpickle(tmp_path / "w.pth"))


def test_a_line_about_many_names_is_short(tmp_path):
    state = {f"layer{at}" * 10: torch.zeros(1) for at in range(900)}
    for name, write in {"w.pth": torch.save, "w.ckpt": lambda s, path: torch.save({"state_dict": s}, path)}.items():
        write(state, tmp_path / name)
        assert "conv1.weight is missing, and 9 more" in refusal(tmp_path / name)
    save_file(state, tmp_path / "w.safetensors", {METADATA_KEY: "{}"})
    assert "not a layer of it, and 899 more" in refusal(tmp_path / "w.safetensors")


def test_names_from_the_file_are_escaped(tmp_path):
    torch.save(LeNet5().state_dict() | {"\x1b[2Jlayer\nerror: x": torch.zeros(1)}, tmp_path / "w.pth")
    assert "\\x1b[2Jlayer error: x is not a layer of it" in refusal(tmp_path / "w.pth")
    torch.save({"state_dict": {1: 2}}, tmp_path / "w.ckpt")
    assert "state_dict" in refusal(tmp_path / "w.ckpt")


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "w.ckpt", "w.onnx"])
def test_a_file_of_gigabytes_is_refused_before_it_is_read(tmp_path, name):
    with (tmp_path / name).open("wb") as file:
        file.truncate(12 * 2**30)  # sparse: it takes no space
    start = time.perf_counter()
    assert "must have at most 100,000,000 bytes" in refusal(tmp_path / name)
    assert time.perf_counter() - start < 1


def test_a_header_that_is_larger_than_a_network_needs_is_refused(tmp_path):
    for claimed in (0, 5_000_000, 2**63):
        (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", claimed) + b" " * 6_000_000)
        assert f"its header claims {claimed:,} bytes" in refusal(tmp_path / "w.safetensors")


IDENTITY = helper.make_node("Identity", ["first"], ["logits"])


def graph_within():
    value = helper.make_tensor_value_info("inner", 1, ["N", 10])
    return helper.make_graph([helper.make_node("Identity", ["first"], ["inner"])], "inner", [], [value])


ONNX = {
    "Loop": lambda: {"nodes": [helper.make_node("Loop", ["", "", "first"], ["logits"], body=graph_within())]},
    "If": lambda: {
        "nodes": [helper.make_node("If", ["yes"], ["logits"], then_branch=graph_within(), else_branch=graph_within())],
        "constants": {"yes": np.array(True)},
    },
    "Scan": lambda: {
        "nodes": [helper.make_node("Scan", ["first"], ["logits"], body=graph_within(), num_scan_inputs=1)]
    },
    "graph within a graph": lambda: {"nodes": [helper.make_node("Identity", ["first"], ["logits"], x=graph_within())]},
    "\\x1b[31mred error": lambda: {"nodes": [helper.make_node("\x1b[31mred\nerror" * 50, ["first"], ["logits"])]},
    "com.microsoft": lambda: {"nodes": [helper.make_node("Gelu", ["first"], ["logits"], domain="com.microsoft")]},
    "functions": lambda: {
        "functions": [helper.make_function("own", "Loop", ["x"], ["y"], [], [helper.make_opsetid("", 20)])]
    },
    "not finite": lambda: {"constants": {"unused": np.array([np.inf], np.float32)}},
    "weights that are not finite": lambda: {
        "nodes": [
            helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.array(np.nan))),
            IDENTITY,
        ]
    },
    "type 8": lambda: {"constants": {"unused": np.array(["text"], object)}},
    "at most 1,000 operators": lambda: {
        "nodes": [*(helper.make_node("Identity", ["first"], [f"x{at}"]) for at in range(1_000)), IDENTITY]
    },
    "bytes besides weights": lambda: {"doc_string": "x" * 2_000_000},
    "must return finite logits": lambda: {
        "nodes": [helper.make_node("Log", ["first"], ["log"]), helper.make_node("Neg", ["log"], ["logits"])]
    },
    "for 1 images": lambda: {
        "nodes": [helper.make_node("Concat", ["first", "first"], ["logits"], axis=0)],
    },
}


@pytest.mark.parametrize("what", ONNX)
def test_onnx_of_more_than_a_network_for_digits_is_refused(tmp_path, what):
    assert what in refusal(onnx_file(tmp_path / "w.onnx", **ONNX[what]()))


def test_onnx_with_weights_in_another_file_is_refused(tmp_path):
    model = onnx.load(onnx_file(tmp_path / "w.onnx"))
    onnx.save(model, tmp_path / "w.onnx", save_as_external_data=True, location="w.data", size_threshold=0)
    assert "in another file" in refusal(tmp_path / "w.onnx")


def test_onnx_with_sparse_weights_is_refused(tmp_path):
    model = onnx.load(onnx_file(tmp_path / "w.onnx"))
    values, at = numpy_helper.from_array(np.ones(1, np.float32), "s"), numpy_helper.from_array(np.zeros(1, np.int64))
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, at, [10**12]))
    onnx.save(model, tmp_path / "w.onnx")
    assert "sparse" in refusal(tmp_path / "w.onnx")


def test_onnx_with_a_tag_that_protobuf_would_truncate_is_refused(tmp_path):
    # 7 << 3 | 2 is the graph; with a 33rd bit it is so for protobuf alone
    path = onnx_file(tmp_path / "w.onnx")
    path.write_bytes(path.read_bytes() + bytes([0xBA, 0x80, 0x80, 0x80, 0x10, 0]))
    assert "damaged" in refusal(path)


def test_onnx_with_float16_weights_or_any_batch_is_read(tmp_path):
    half = [helper.make_node("Cast", ["half"], ["h"], to=1), helper.make_node("Add", ["first", "h"], ["logits"])]
    path = onnx_file(tmp_path / "w.onnx", half, {"half": np.arange(10, dtype=np.float16)})
    np.testing.assert_array_equal(Recognizer(path).logits(BLACK), [np.arange(10)] * 2)
