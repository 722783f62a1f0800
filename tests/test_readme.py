"""What the documents tell people to type works, and what they name exists."""

import re
import shlex

import pytest
from PIL import Image, ImageDraw

from lenet_lightning.__main__ import _run, main
from lenet_lightning.errors import UsageError
from tests.benchmarks import tables
from tests.benchmarks.kept import ROOT

README, CHINESE = ((ROOT / name).read_text() for name in ("README.md", "README.zh-CN.md"))
DOCUMENTS = {path.name: path for path in (*ROOT.glob("README*.md"), *ROOT.glob("docs/*.md"))}
each_document = pytest.mark.parametrize("path", DOCUMENTS.values(), ids=DOCUMENTS)


def blocks(text):
    """Return the blocks of code, fenced or indented, without the comments that a translation may change."""
    found = re.findall(r"^```[^`]*^```|(?:^    .*\n)+", text, re.MULTILINE)
    return [re.sub(r" +#.*", "", block) for block in found]


def commands():
    """Return every command line of the program in the documents, without the program."""
    text = "\n".join(block for path in DOCUMENTS.values() for block in blocks(path.read_text()))
    text = text.replace("\\\n", " ")
    return sorted(set(re.findall(r"^    (?:.*-m )?lenet_lightning (\S.*?) *$", text, re.MULTILINE)))


@pytest.mark.parametrize("line", [line for line in commands() if "--config" in line])
def test_commands_with_a_config_are_understood(line, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as end:
        main([*shlex.split(line), "--print_config"])
    assert end.value.code == 0
    assert "max_epochs" in capsys.readouterr().out


@pytest.mark.parametrize("line", [line for line in commands() if "--config" not in line])
def test_other_commands_are_understood(line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command, *options = shlex.split(line)
    if command == "predict":
        options[0] = "."
    if command in ("predict", "export", "demo"):
        options += ["--weights", "none.pth"]
    if line == "describe":
        assert _run([command, *options]) == 0
    elif line == "fit --help":
        with pytest.raises(SystemExit) as end:
            _run([command, *options])
        assert end.value.code == 0
    else:  # the folder is empty: that is what is refused, once the options are understood
        with pytest.raises(UsageError, match=r"none\.pth|no run|runs: must be a run's folder"):
            _run([command, *options])


def test_the_documents_have_enough_commands():
    lines = commands()
    assert sum("--config" in line for line in lines) >= 8
    assert {line.split()[0] for line in lines} >= {"fit", "validate", "test", "predict", "export", "demo", "dashboard"}


@pytest.mark.filterwarnings("ignore")  # Lightning's own, which a notebook would show too
@pytest.mark.parametrize(
    "name, number, lines",
    [
        (name, number, block)
        for name in ("README.md", "extending.md")
        for number, block in enumerate(re.findall(r"```python\n(.*?)```", DOCUMENTS[name].read_text(), re.DOTALL))
    ],
)
def test_python_examples_run(name, number, lines, fake_mnist, tmp_path, monkeypatch, capsys):
    (tmp_path / "data").symlink_to(fake_mnist)
    monkeypatch.chdir(tmp_path)
    picture = Image.new("L", (300, 300), "white")
    ImageDraw.Draw(picture).line([(80, 60), (220, 60), (130, 250)], "black", 24, joint="curve")
    picture.save("seven.png")
    short = "limit_train_batches=5, limit_val_batches=1, limit_test_batches=1, "
    names = {}
    exec(lines.replace("Trainer(", f"Trainer({short}"), names)
    if name == "README.md":
        assert "Trainer(max_epochs=1" in lines
        assert names["logits"].shape == (4, 10)
        assert (tmp_path / "lenet5.safetensors").exists()
        assert names["state_dict"].keys() == names["model"].network.state_dict().keys()
        assert capsys.readouterr().out.splitlines()[-1].startswith("7 ")


@pytest.mark.parametrize("lines", re.findall(r"```yaml\n(.*?)```", DOCUMENTS["extending.md"].read_text(), re.DOTALL))
def test_configs_in_the_documents_are_understood(lines, tmp_path, capsys):
    config = tmp_path / "config.yaml"
    config.write_text(lines.replace("SUM", "a" * 64))
    with pytest.raises(SystemExit) as end:
        main(["fit", "--config", str(ROOT / "configs" / "default.yaml"), "--config", str(config), "--print_config"])
    assert end.value.code == 0
    assert re.search("EarlyStopping|FashionMNIST", capsys.readouterr().out)


@pytest.mark.parametrize("document", tables.DOCUMENTS, ids=lambda document: document.name)
def test_tables_are_what_the_benchmarks_kept(document):
    text = document.read_text()
    assert "<!-- table" in text
    assert tables.written(text) == text  # else: python -m tests.benchmarks.tables


def test_make_targets_exist():
    text = "\n".join(path.read_text() for path in DOCUMENTS.values())
    named = set(re.findall(r"(?:`|^    )make ([a-z-]+)", text, re.MULTILINE)) - {"help"}
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"train", "test"} <= named <= targets


@each_document
def test_links_lead_somewhere(path):
    for target, anchor in re.findall(r"\]\(([^)#:]*)#?([^)]*)\)", path.read_text()):
        linked = path.parent / target if target else path
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)", linked.read_text(), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]


# what a run or a download writes
THEIRS = re.compile(r"(runs|data/MNIST|pictures|wandb)/|(config\.yaml|results\.json)$")


@each_document
def test_files_named_in_the_documents_exist(path):
    names = re.findall(r"`([\w./-]+(?:\.(?:py|ya?ml|md|json|png|lock|toml)|/))`", path.read_text())
    folders = ("", "lenet_lightning", "configs", "docs", "tests/faults", "tests")
    for name in {name for name in names if not THEIRS.match(name)}:
        assert any((ROOT / folder / name).exists() for folder in folders), name
    for module in re.findall(r"python -m (tests\.[\w.]+)", path.read_text()):
        assert (ROOT / f"{module.replace('.', '/')}.py").exists(), module


@pytest.mark.parametrize("text", [README, CHINESE], ids=["English", "Chinese"])
def test_numbers_of_the_promises_are_those_of_tests(text):
    named = re.findall(r"`(test_\w+\.py)` (\d+)(?:(?: to |, | 至 |、)(\d+))?", text)
    assert len(named) >= 8
    for file, *numbers in named:
        code = (ROOT / "tests" / "faults" / file).read_text()
        assert all(f"_{int(number):02}_" in code for number in numbers if number), (file, numbers)


@pytest.mark.parametrize("text", [README, CHINESE], ids=["English", "Chinese"])
def test_the_first_screen_says_how_to_start(text):
    lines = text.splitlines()
    assert len(lines) <= 200
    start = "\n".join(lines[:15])
    for words in ("make train", "make test", "pip install .", "lenet_lightning fit"):
        assert words in start


def test_the_readmes_agree():
    assert "(README.zh-CN.md)" in "".join(README.splitlines()[:4])
    assert "(README.md)" in "".join(CHINESE.splitlines()[:4])
    assert blocks(README) == blocks(CHINESE)
    for pattern in (r"^\|.*", r"^#+ "):  # as many rows and headings
        assert len(re.findall(pattern, README, re.M)) == len(re.findall(pattern, CHINESE, re.M))
    for pattern in (r"<!-- table results.*?<!-- end", r"\|---:\|\n(.*?)\n\n"):  # the results, and the network's layers
        numbers = [re.findall(r"\d[\d,.]*", re.search(pattern, text, re.DOTALL)[0]) for text in (README, CHINESE)]
        assert numbers[0] == numbers[1]
    named = [re.findall(r"`(?:tests/|test_)[^`]*`", text) for text in (README, CHINESE)]
    assert named[0] == named[1]
