"""The package as it is installed: outside of the checkout, it trains what configs/default.yaml says."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
SOURCES = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "configs", "lenet_lightning")
SDIST = "import sys; from setuptools.build_meta import build_sdist; print(build_sdist(sys.argv[1]))"

pytestmark = [pytest.mark.wheel, pytest.mark.timeout(600)]


def ran(*command, cwd):
    """What the command prints, in an environment that leads to no checkout."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(map(str, command), cwd=cwd, env=environment, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def sources(tmp_path):
    """A copy of what the package is built from: nothing is left behind in the checkout, nor found there."""
    folder = tmp_path / "sources"
    folder.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder)
    return folder


def build(how, sources):
    """What pip can install: the folder, or the one file that is built from it."""
    dist = sources.parent / "dist"
    if how == "wheel":
        pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index")
        ran(*pip, "--wheel-dir", dist, sources, cwd=sources)
        return next(dist.glob("*.whl"))
    if how == "sdist":
        ran(sys.executable, "-c", SDIST, dist, cwd=sources)
        return next(dist.glob("*.tar.gz"))
    return sources


def install(how, sources):
    """Install into a fresh virtual environment that has the other packages of this one; return its folder."""
    environment = sources.parent / "environment"
    venv.create(environment, symlinks=os.name != "nt")
    # a folder named in a .pth file adds its packages, but not the checkout, which is named in a .pth file of its own
    (place("purelib", environment) / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    command = [place("scripts", environment) / "python", "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    # what is installed already is this one's own and out of reach
    command += ["--ignore-installed", "--no-build-isolation", *["--editable"] * (how == "editable")]
    ran(*command, build(how, sources), cwd=sources)
    return environment


def place(kind, environment):
    return Path(sysconfig.get_path(kind, "venv", vars={"base": str(environment), "platbase": str(environment)}))


def without(nested, names):
    return {key: value for key, value in nested.items() if key not in names}


def assert_within(few, many, name=""):
    """Each setting of `few` is in `many` with the same value."""
    for key, value in few.items():
        assert key in many, f"{name}{key}"
        if isinstance(value, dict):
            assert_within(value, many[key], f"{name}{key}.")
        else:
            assert many[key] == value, f"{name}{key}"


@pytest.mark.parametrize("how", ["wheel", "sdist", "folder", "editable"])
def test_fit_trains_the_default_config_outside_of_the_checkout(how, sources, tmp_path):
    environment = install(how, sources)
    empty = tmp_path / "empty"
    empty.mkdir()
    scripts = place("scripts", environment)
    where = ran(scripts / "python", "-c", "import lenet_lightning; print(lenet_lightning.__file__)", cwd=empty)
    home = sources if how == "editable" else place("purelib", environment)
    assert Path(where.strip()).parents[1] == home
    print(where)

    options = ["--trainer.max_epochs=1", "--trainer.limit_test_batches=0", "--trainer.logger=false"]
    options += ["--trainer.limit_train_batches=10"] * (how != "wheel")  # a whole epoch once
    fit = (scripts / "lenet_lightning", "fit")
    options += [f"--data.root={ROOT / 'data'}"]
    print(ran(*fit, *options, cwd=empty))

    (config,) = empty.glob("runs/2*-default/config.yaml")
    print(config.read_text())
    recipe = yaml.safe_load((ROOT / "configs" / "default.yaml").read_text())
    recipe["trainer"] = without(recipe["trainer"], {"max_epochs", "logger"})
    assert recipe["model"]
    assert_within(recipe, yaml.safe_load(config.read_text()))

    # what it prints is the same run
    (empty / "printed.yaml").write_text(ran(*fit, *options, "--print_config", cwd=empty))
    ran(*fit, "--config=printed.yaml", cwd=empty)
    (again,) = empty.glob("runs/2*-printed/config.yaml")
    assert again.read_text() == config.read_text()
    weights = [(each.parent / "weights.safetensors").read_bytes() for each in (config, again)]
    assert weights[0] == weights[1]


def test_the_wheel_holds_every_file_of_the_package_and_every_config(sources):
    tracked = subprocess.run(
        ["git", "ls-files", "lenet_lightning", "configs"], cwd=ROOT, text=True, capture_output=True, check=True
    ).stdout.splitlines()
    assert len(tracked) > 10
    with zipfile.ZipFile(build("wheel", sources)) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert held == {name if name.startswith("lenet_lightning/") else f"lenet_lightning/{name}" for name in tracked}
