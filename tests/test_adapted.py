"""Weights of others: the same network under other names, in other forms, is read; what it is not, is named."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lenet_lightning import LeNet5, Recognizer, weights
from lenet_lightning.__main__ import main
from lenet_lightning.adapted import is_state_dict
from lenet_lightning.errors import RunError
from lenet_lightning.inference import server, trial
from tests.inference import corpus
from tests.test_weights import onnx_file

ROOT = Path(__file__).parents[1]
STATE, _ = weights.read(weights.SHIPPED)
SEQUENTIAL = dict(conv1="0", conv2="3", linear1="7", linear2="9", linear3="11")


@pytest.fixture(autouse=True)
def without_mnist(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def below(prefix, state=STATE):
    return {prefix + name: values for name, values in state.items()}


def renamed(names, state=STATE):
    return {f"{names[name.split('.')[0]]}.{name.split('.')[1]}": values for name, values in state.items()}


FC = dict(conv1="conv1", conv2="conv2", linear1="fc1", linear2="fc2", linear3="fc3")
C5 = STATE | {"linear1.weight": STATE["linear1.weight"].reshape(120, 16, 5, 5)}

# what is saved, and what is said of it
OTHERS = {
    "a state_dict": (STATE, ""),
    "DataParallel": (below("module."), "module. dropped"),
    "torch.compile": (below("_orig_mod."), "_orig_mod. dropped"),
    "both": (below("module._orig_mod."), "module. dropped; _orig_mod. dropped"),
    "model": ({"model": STATE, "epoch": 3}, "its 'model' taken"),
    "net": ({"net": STATE, "acc": 99.1}, "its 'net' taken"),
    "model_state_dict": (
        {"model_state_dict": STATE, "optimizer_state_dict": {}, "epoch": 3},
        "its 'model_state_dict' taken",
    ),
    "state_dict": ({"state_dict": STATE, "epoch": 3}, "its 'state_dict' taken"),
    "another Lightning module": (
        {"state_dict": below("model."), "pytorch-lightning_version": "2.5.0"},
        "its 'state_dict' taken; model. dropped",
    ),
    "one with a data module of its own": (
        {"state_dict": below("net."), "datamodule_hyper_parameters": {"mean": 0.5}},
        "its 'state_dict' taken; net.conv1 as conv1, net.conv2 as conv2, net.linear1 as linear1, "
        "net.linear2 as linear2, net.linear3 as linear3",
    ),
    "fc": (renamed(FC), "fc1 as linear1, fc2 as linear2, fc3 as linear3"),
    "Sequential": (
        renamed(SEQUENTIAL),
        "0 as conv1, 3 as conv2, 7 as linear1, 9 as linear2, 11 as linear3",
    ),
    "C5 as a convolution": (C5, "C5 from a convolution"),
    "half": ({name: values.half() for name, values in STATE.items()}, ""),
    "in another order": (dict(reversed(renamed(FC).items())), "fc1 as linear1, fc2 as linear2, fc3 as linear3"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_the_same_weights_are_read_in_whatever_form_and_it_is_said_what_was_adapted(tmp_path, kind):
    saved, adapted = OTHERS[kind]
    for name in ("w.pth", "w.ckpt", "w.pt", "W.PTH"):
        torch.save(saved, tmp_path / name)
        read, metadata = weights.read(tmp_path / name)
        assert read.keys() == STATE.keys()
        for each, values in STATE.items():
            assert torch.equal(read[each], values.half().float() if kind == "half" else values)
        assert metadata == weights.metadata_of("lenet5") | {"adapted": adapted}


@pytest.mark.parametrize("kind", [kind for kind, (saved, _) in OTHERS.items() if is_state_dict(saved)])
def test_bare_safetensors_are_read_likewise(tmp_path, kind):
    saved, _ = OTHERS[kind]
    save_file({name: values.contiguous() for name, values in saved.items()}, tmp_path / "w.SafeTensors")
    read, metadata = weights.read(tmp_path / "w.SafeTensors")
    assert all(torch.allclose(read[each], values, atol=1e-3) for each, values in STATE.items())
    assert "adapted" in metadata


def test_our_own_files_are_not_adapted(tmp_path):
    weights.write(STATE, weights.metadata_of("lenet5"), tmp_path / "w.safetensors")
    assert "adapted" not in weights.read(tmp_path / "w.safetensors")[1]
    assert "adapted" not in Recognizer(weights.SHIPPED).metadata


def test_the_line_names_the_weights_and_what_was_adapted(tmp_path, capfd):
    torch.save({"net": renamed(FC)}, "w.PTH")
    corpus.seven().save("seven.png")
    assert main(["predict", "seven.png", "--weights", "w.PTH"]) == 0
    out, err = capfd.readouterr()
    assert out.split()[1] == "7"
    told = "its 'net' taken; fc1 as linear1, fc2 as linear2, fc3 as linear3"
    assert err == f"weights w.PTH ({told}), of others, not tried: MNIST is not in data\n"


def quantised():
    values = torch.quantize_per_tensor(STATE["linear1.weight"], 0.1, 0, torch.qint8)
    return STATE | {"linear1.weight": values}


def whole():
    network = LeNet5()
    network.load_state_dict(STATE)
    return network


def unlike(**shapes):
    return STATE | {name.replace("_", "."): torch.zeros(shape) for name, shape in shapes.items()}


NAMED = {
    "whole module": (whole, r"a whole module of class lenet_lightning\.networks\.lenet5\.LeNet5; save state_dict"),
    "whole module in a dict": (lambda: {"model": whole()}, "a whole module of class"),
    "quantised": (quantised, "it holds quantised tensors; save state_dict"),
    "an optimizer alone": (lambda: {"optimizer": {"lr": 0.1}, "epoch": 3}, "a dict of something else"),
    "a list": (lambda: [STATE], "must hold a state_dict, got a list"),
    "no weights": (dict, "it holds nothing"),
    "other shapes": (
        lambda: unlike(conv1_weight=(32, 1, 3, 3)),
        r"conv1\.weight must be \(6, 1, 5, 5\), got \(32, 1, 3, 3\); it holds conv1",
    ),
    "another network": (
        lambda: {"conv1.weight": torch.zeros(32, 1, 3, 3), "fc.weight": torch.zeros(10, 128)},
        r"it holds conv1\.weight \(32, 1, 3, 3\), fc\.weight \(10, 128\)",
    ),
    "a layer more": (lambda: renamed(FC) | {"bn.weight": torch.zeros(6)}, "is not a layer of it"),
    "a bias of another layer": (
        lambda: {("x.bias" if name == "fc1.bias" else name): values for name, values in renamed(FC).items()},
        "does not fit LeNet5",
    ),
    "not finite": (lambda: renamed(FC, STATE | {"conv1.bias": torch.full((6,), torch.nan)}), "not finite in conv1"),
}


@pytest.mark.filterwarnings("ignore")  # torch's, of quantised tensors
@pytest.mark.parametrize("kind", NAMED)
def test_what_is_no_such_network_is_named_in_one_line_without_torchs_advice(tmp_path, kind):
    make, named = NAMED[kind]
    for zipped in (True, False):
        torch.save(make(), "w.pth", _use_new_zipfile_serialization=zipped)
        with pytest.raises(RunError, match=named) as refused:
            Recognizer("w.pth")
        assert not re.search(r"weights_only|\n", str(refused.value))


@pytest.mark.filterwarnings("ignore")  # torch's, of TorchScript
def test_torchscript_is_named(tmp_path):
    torch.jit.trace(LeNet5().eval(), torch.zeros(2, 1, 28, 28)).save("w.pt")
    with pytest.raises(RunError, match=r"w\.pt: cannot be loaded: it is a TorchScript archive; save state_dict"):
        Recognizer("w.pt")


@pytest.mark.parametrize("batch", [1, 3, 256])
def test_an_onnx_file_of_a_fixed_batch_is_run_at_it(tmp_path, batch):
    images = np.random.default_rng(0).integers(0, 256, (7, 28, 28), np.uint8)
    weight = {"weight": np.random.default_rng(1).normal(size=(784, 10)).astype(np.float32)}
    free = Recognizer(onnx_file(tmp_path / "free.onnx", constants=weight))
    fixed = Recognizer(onnx_file(tmp_path / "fixed.ONNX", constants=weight, batch=batch))
    for count in (0, 1, 2, 3, 7):
        np.testing.assert_allclose(fixed.logits(images[:count]), free.logits(images[:count]), rtol=1e-4, atol=1e-4)
    assert f"(in batches of {batch})" in fixed.accuracy


@pytest.mark.parametrize("batch", [0, 257, 10**9])
def test_an_onnx_file_of_too_large_a_batch_is_refused(tmp_path, batch):
    with pytest.raises(RunError, match=r"(from 1 to 256 images at once|cannot be loaded)"):
        Recognizer(onnx_file(tmp_path / "w.onnx", batch=batch))


@pytest.fixture
def mnist(fake_mnist, tmp_path):
    (tmp_path / "data").symlink_to(fake_mnist)
    return fake_mnist


def matching(root):
    """Weights (784, 10) of a linear network, fitted by least squares, that tells the fake digits apart."""
    images = np.fromfile(root / "MNIST/raw/train-images-idx3-ubyte", np.uint8)[16:].reshape(-1, 784)[:2_000]
    labels = np.fromfile(root / "MNIST/raw/train-labels-idx1-ubyte", np.uint8)[8:][:2_000]
    return np.linalg.lstsq(images / 255, np.eye(10)[labels], rcond=None)[0].astype(np.float32)


def test_weights_of_others_are_tried_on_validation_digits(tmp_path, mnist, capfd):
    weight = matching(mnist)
    onnx_file(tmp_path / "digits.onnx", constants={"weight": weight})
    onnx_file(tmp_path / "fashion.onnx", constants={"weight": np.roll(weight, 1, axis=1)})
    corpus.seven().save("seven.png")
    assert main(["predict", "seven.png", "--weights", "digits.onnx"]) == 0
    told = re.fullmatch(
        r"weights digits\.onnx, of others, (.*)% of 5,000 of MNIST's validation digits right\n", capfd.readouterr().err
    )
    assert float(told[1]) > 90
    assert main(["predict", "seven.png", "--weights", "fashion.onnx"]) == 1
    refused = r"error: fashion\.onnx: must read 90% of MNIST's validation digits right, reads .*%: .* insist .*\n"
    assert re.fullmatch(refused, capfd.readouterr().err)
    assert main(["predict", "seven.png", "--weights", "fashion.onnx", "--insist"]) == 0
    assert "% of 5,000 of MNIST's validation digits right" in capfd.readouterr().err


def test_the_page_is_served_with_weights_that_misread_if_one_insists(tmp_path, mnist, capfd, monkeypatch):
    served = []
    monkeypatch.setattr(server, "serve", lambda recognizers, *_: served.extend(recognizers))
    onnx_file(tmp_path / "fashion.onnx", constants={"weight": np.roll(matching(mnist), 1, axis=1)})
    assert main(["demo", "--port", "0", "--weights", "fashion.onnx"]) == 1
    assert re.fullmatch(r"error: fashion\.onnx: .* \(--insist\)\n", capfd.readouterr().err)
    assert not served
    assert main(["demo", "--port", "0", "--weights", "fashion.onnx", "--insist"]) == 0
    (recognizer,) = served
    assert "% of 5,000 of MNIST's validation digits right" in recognizer.accuracy


def test_what_reads_too_little_is_refused_in_every_form(mnist):
    # digits, but not these fake ones
    torch.save(renamed(FC), "w.pth")
    save_file(STATE, "w.safetensors")
    for name in ("w.pth", "w.safetensors"):
        with pytest.raises(RunError, match=rf"{name}: must read 90% .*, reads .*%.*: it may be for other images"):
            Recognizer(name)
        assert Recognizer(name, insist=True).logits(np.zeros((1, 28, 28), np.uint8)).shape == (1, 10)
    Recognizer(weights.SHIPPED)  # ours say themselves what they read


def test_a_slow_network_is_tried_on_fewer(mnist, monkeypatch):
    monkeypatch.setattr(trial, "_MOST_SECONDS", -1)
    assert trial.on_validation_digits(lambda images: np.zeros((len(images), 10))).digits == 1


@pytest.mark.real
def test_the_real_digits_tell_a_network_for_digits_from_another(tmp_path):
    (tmp_path / "data").symlink_to(ROOT / "data")
    torch.save(renamed(FC), "digits.pth")
    assert float(re.search(r", of others, (.*)% of 5,000 of", Recognizer("digits.pth").accuracy)[1]) > 98
    # as one for other classes has it, shapes and all
    torch.save(STATE | {name: STATE[name].roll(1, 0) for name in ("linear3.weight", "linear3.bias")}, "others.pth")
    with pytest.raises(RunError, match=r"others\.pth: must read 90%"):
        Recognizer("others.pth")
