"""An exported file predicts as the network does, or it is not written."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lenet_lightning import LeNet5, Recognizer, weights
from lenet_lightning.__main__ import main
from lenet_lightning.inference import export
from tests.tutorial import V1, V2, V3

FORMATS = ("pth", "safetensors", "onnx")
FORMS = {"v1": V1, "v2": V2, "v3": V3}
ROOT = Path(__file__).parents[2]
IMAGES = np.random.default_rng(1).integers(0, 256, (300, 28, 28), np.uint8)


pytestmark = [pytest.mark.usual, pytest.mark.usefixtures("in_an_empty_folder")]


@pytest.fixture
def fresh(tmp_path):
    """What a fresh Python takes to use this package from an empty folder."""
    return {"cwd": tmp_path, "env": {**os.environ, "PYTHONPATH": str(ROOT)}, "text": True}


@pytest.fixture(scope="module")
def metadata():
    return weights.metadata_of("lenet5", 0.25, 0.5) | {"test/acc": 0.9876}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return LeNet5().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def mine(network, metadata, tmp_path_factory):
    """A weights file whose mean and std are not those of MNIST."""
    path = tmp_path_factory.mktemp("mine") / "mine.safetensors"
    weights.write(network.state_dict(), metadata, path)
    return path


@pytest.fixture(scope="module")
def onnx_file(mine, tmp_path_factory):
    """The ONNX export of `mine`, in a folder of its own."""
    path = tmp_path_factory.mktemp("onnx") / "lenet5.onnx"
    assert main(["export", "--format", "onnx", "--weights", str(mine), "--output", str(path)]) == 0
    return path


@pytest.fixture
def older(tmp_path):
    """A function that puts an older file of a format in place and returns a check that it alone is there, unchanged."""

    def put(format_):
        path = tmp_path / f"lenet5.{format_}"
        path.write_bytes(b"older")

        def is_intact():
            return os.listdir(tmp_path) == [path.name] and path.read_bytes() == b"older"

        return is_intact

    return put


def normalised(images, mean=LeNet5.MEAN, std=LeNet5.STD):
    return (torch.tensor(images)[:, None] / 255 - mean) / std


def logits_of(network, images):
    with torch.inference_mode():
        return network.eval()(images).numpy()


@pytest.mark.parametrize("form", FORMS)
def test_a_tutorials_pth_is_read_as_it_computes(form):
    torch.manual_seed(1)
    theirs = FORMS[form]()
    torch.save(theirs.state_dict(), "theirs.pth")
    np.testing.assert_allclose(
        Recognizer("theirs.pth").logits(IMAGES), logits_of(theirs, normalised(IMAGES)), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("form", FORMS)
def test_an_exported_pth_loads_in_the_tutorials_class(form):
    assert main(["export", "--format", "pth", "--form", form, "--output", "out.pth"]) == 0
    saved = torch.load("out.pth", weights_only=True)
    assert all(type(values) is torch.Tensor for values in saved.values())
    theirs = FORMS[form]()
    theirs.load_state_dict(saved, strict=True)
    expected = Recognizer(weights.SHIPPED).logits(IMAGES)
    np.testing.assert_allclose(logits_of(theirs, normalised(IMAGES)), expected, rtol=0, atol=1e-5)


def test_the_first_form_is_the_default():
    assert main(["export", "--format", "pth"]) == 0
    V1().load_state_dict(torch.load("lenet5.pth", weights_only=True), strict=True)


def test_safetensors_keep_the_metadata(mine, network, metadata):
    assert main(["export", "--format", "safetensors", "--weights", str(mine)]) == 0
    state_dict, read = weights.read(mine.parent / "mine.safetensors")
    copied, kept = weights.read(Path("lenet5.safetensors"))
    assert kept == read == metadata
    assert all(torch.equal(copied[name], values) for name, values in state_dict.items())


@pytest.mark.parametrize("count", [1, 2, 300])
def test_onnx_takes_any_number_of_pixels_from_0_to_1(onnx_file, network, metadata, count):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(onnx_file), providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"pixels": IMAGES[:count, None].astype(np.float32) / 255})
    expected = logits_of(network, normalised(IMAGES[:count], metadata["mean"], metadata["std"]))
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5)


def test_onnx_is_one_file_with_the_metadata_inside_and_nothing_of_this_machine(onnx_file, metadata):
    assert os.listdir(onnx_file.parent) == [onnx_file.name]
    assert Recognizer(onnx_file).metadata == metadata
    content = onnx_file.read_bytes()
    assert b".py" not in content
    assert os.getcwd().encode() not in content


@pytest.mark.faults  # seconds each
def test_a_fresh_onnx_export_is_the_same_file_and_prints_nothing_else(onnx_file, mine, fresh, tmp_path):
    command = [sys.executable, "-W", "error", "-m", "lenet_lightning", "export"]
    ended = subprocess.run([*command, "--format", "onnx", "--weights", mine], capture_output=True, **fresh)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert [line.split()[0] for line in ended.stdout.splitlines()] == ["exported", "to", "checked"]
    assert (tmp_path / "lenet5.onnx").read_bytes() == onnx_file.read_bytes()


@pytest.mark.parametrize("format_", ["pth", "safetensors"])
def test_equal_weights_are_equal_files(format_):
    for name in ("a", "b"):
        assert main(["export", "--format", format_, "--output", f"{name}.{format_}"]) == 0
    assert Path(f"a.{format_}").read_bytes() == Path(f"b.{format_}").read_bytes()


def test_the_newest_run_is_exported_by_default(tmp_path, network, capsys):
    assert main(["export", "--format", "pth"]) == 0
    assert str(weights.SHIPPED) in capsys.readouterr().out
    for name in ("20260101-000000-older", "20260102-000000-newer"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        weights.write(
            network.state_dict(),
            weights.metadata_of("lenet5"),
            tmp_path / "runs" / name / "weights.safetensors",
        )
    assert main(["export", "--format", "pth"]) == 0
    assert "20260102-000000-newer" in capsys.readouterr().out
    saved = torch.load("lenet5.pth", weights_only=True)
    assert torch.equal(saved["linear3.bias"], network.linear3.bias)


def test_a_checkpoint_is_exported_as_its_average(network):
    other = LeNet5().state_dict()
    saved = {f"network.{name}": values for name, values in other.items()}
    saved |= {f"averaged.module.{name}": values for name, values in network.state_dict().items()}
    torch.save({"state_dict": saved}, "best.ckpt")
    assert main(["export", "--format", "pth", "--weights", "best.ckpt"]) == 0
    exported = torch.load("lenet5.pth", weights_only=True)
    assert all(torch.equal(exported[name], values) for name, values in network.state_dict().items())


@pytest.mark.faults  # seconds each
def test_checked_on_the_training_images_where_they_exist(fake_mnist, capsys):
    assert main(["export", "--format", "pth", "--data", str(fake_mnist)]) == 0
    assert "60,000 training images" in capsys.readouterr().out


def test_checked_on_made_up_images_where_mnist_is_damaged(fake_mnist_root, capsys):
    # without the fixture that replaces the sums, the fakes are files with wrong sums
    for root in (fake_mnist_root, "nowhere"):
        assert main(["export", "--format", "pth", "--data", str(root)]) == 0
        assert "1,000 made-up images" in capsys.readouterr().out


def test_made_up_images_are_told_apart():
    digits = Recognizer(weights.SHIPPED).logits(export._made_up()).argmax(axis=1)
    assert len(set(digits.tolist())) >= 5


@pytest.mark.parametrize("scale", [4, 1024])
def test_confident_networks_are_no_less_exportable(scale):
    network, metadata = weights.load(weights.SHIPPED)
    for values in (network.linear3.weight, network.linear3.bias):
        values.mul_(scale)
    weights.write(network.state_dict(), metadata, Path("sure.safetensors"))
    assert main(["export", "--format", "onnx", "--weights", "sure.safetensors"]) == 0


def flip(content):
    """Other signs for 2,000 weights in the middle of the file: five hidden units, as some are active on no digit."""
    start, end = len(content) // 2, len(content) // 2 + 8_000
    return content[:start] + bytes(byte ^ 0x80 for byte in content[start:end]) + content[end:]


@pytest.mark.faults  # 25
@pytest.mark.parametrize("damage", [flip, lambda content: content[: len(content) // 2]], ids=["flipped", "truncated"])
@pytest.mark.parametrize("format_", FORMATS)
def test_a_file_that_does_not_predict_as_the_network_is_not_put_in_place(format_, damage, older, monkeypatch, capsys):
    is_intact, check = older(format_), export._difference

    def damaged(path, *rest):
        path.write_bytes(damage(path.read_bytes()))
        return check(path, *rest)

    monkeypatch.setattr(export, "_difference", damaged)
    assert main(["export", "--format", format_]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"lenet5.{format_}: not written" in line
    assert is_intact()


def test_a_pth_of_other_than_mnists_normalisation_is_refused(mine, older, capsys):
    # it has no place for mean and std: whoever reads it takes those of MNIST
    is_intact = older("pth")
    assert main(["export", "--format", "pth", "--weights", str(mine)]) == 1
    assert "logits differ" in capsys.readouterr().err
    assert is_intact()


@pytest.mark.faults  # 25
@pytest.mark.parametrize("format_", FORMATS)
def test_an_interrupted_export_leaves_the_older_file(format_, older, monkeypatch):
    is_intact, write = older(format_), Path.write_bytes

    def interrupted(path, content):
        write(path, content[: len(content) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", interrupted)
    assert main(["export", "--format", format_]) == 130
    assert is_intact()


@pytest.mark.faults  # 25
@pytest.mark.parametrize("ended_by", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_export_leaves_the_older_file(ended_by, older, fresh):
    is_intact = older("pth")
    stuck = """
import sys, time
from lenet_lightning.__main__ import main
from lenet_lightning.inference import export

def check(path, *_):
    print(path, flush=True)
    time.sleep(60)

export._difference = check
sys.exit(main(["export", "--format", "pth"]))
"""
    with subprocess.Popen([sys.executable, "-c", stuck], stdout=subprocess.PIPE, **fresh) as process:
        partial = Path(process.stdout.readline().strip())
        assert partial.exists()
        process.send_signal(ended_by)
    if ended_by == signal.SIGTERM:
        assert process.returncode == 143
    else:
        partial.unlink()  # nobody can tidy up after that
    assert is_intact()


@pytest.mark.faults  # 25
def test_a_full_disk_leaves_the_older_file(older, capsys):
    is_intact, limits = older("pth"), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        code = main(["export", "--format", "pth"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "lenet5.pth: cannot be written" in line
    assert is_intact()


REFUSED = {
    "no format": ([], 2, "--format"),
    "unknown format": (["--format", "pt"], 2, "'pt'"),
    "unknown form": (["--format", "pth", "--form", "v4"], 2, "'v4'"),
    "form of another format": (["--format", "onnx", "--form", "v1"], 2, "--form v1"),
    "ending of another format": (["--format", "onnx", "--output", "out.pth"], 2, "must end with .onnx"),
    "no folder": (["--format", "pth", "--output", "none/out.pth"], 2, "no folder none"),
    "a folder": (["--format", "pth", "--output", "folder.pth"], 2, "is a folder"),
    "no weights": (["--format", "pth", "--weights", "none.ckpt"], 2, "none.ckpt"),
    "onnx as weights": (["--format", "pth", "--weights", "in.onnx"], 2, "made from"),
    "damaged weights": (["--format", "pth", "--weights", "damaged.pth"], 1, "damaged.pth"),
    "weights that are not finite": (["--format", "pth", "--weights", "nan.pth"], 1, "not finite in linear3.bias"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_invalid_options_and_weights_are_refused_in_one_line(case, capsys):
    args, code, text = REFUSED[case]
    Path("folder.pth").mkdir()
    Path("damaged.pth").write_bytes(b"damaged")
    nan = LeNet5().state_dict()
    nan["linear3.bias"][3] = torch.nan
    torch.save(nan, "nan.pth")
    before = sorted(os.listdir())
    assert main(["export", *args]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert text in line
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize("name", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_named_with_its_remedy(name, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, name, None)
    assert main(["export", "--format", "onnx"]) == 2
    err = capsys.readouterr().err
    assert f"needs {name}: pip install 'lenet_lightning[export]'" in err
    assert main(["export", "--format", "pth"]) == 0


def test_a_pth_of_another_network_is_refused_by_its_layers(capsys):
    torch.save(torch.nn.Sequential(torch.nn.Linear(784, 10)).state_dict(), "other.pth")
    assert main(["export", "--format", "onnx", "--weights", "other.pth"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "conv1.weight is missing" in line
    assert "0.weight is not a layer of it" in line


@pytest.mark.faults  # seconds each
def test_no_lightning_is_needed(fresh):
    code = """
import sys
from lenet_lightning.__main__ import main
assert main(["export", "--format", "onnx"]) == 0
print({name.split(".")[0] for name in sys.modules} & {"lightning", "torchvision", "matplotlib", "torchmetrics"})
"""
    assert subprocess.check_output([sys.executable, "-c", code], **fresh).splitlines()[-1] == "set()"
