"""What a release says in several places is the same, and what is silenced has its reason."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_the_newest_entry_of_the_changelog_and_the_citation_are_of_this_version():
    newest = re.search(r"^## \[(.+)\] - (\d{4}-\d{2}-\d{2})$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert newest.groups() == (VERSION, citation["date-released"])
    assert citation["version"] == VERSION


def test_pre_commit_checks_what_make_lint_checks():
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    hooks = [re.sub(r"^\.venv/bin/| --force-exclude$", "", hook["entry"]) for hook in local["hooks"]]
    # make lint looks at all files and changes none; pre-commit passes those of the commit, and formats them
    commands = re.sub(r"\$\(VENV\) -m |\.venv/bin/| --check| \.$", "", recipe, flags=re.MULTILINE)
    assert [line.strip() for line in commands.splitlines()] == hooks


def test_every_silenced_finding_has_its_reason_beside_it_or_above():
    bare = []
    for path in ROOT.glob("lenet_lightning/**/*.py"):
        lines = path.read_text().splitlines()
        for number, line in enumerate(lines):
            silenced = re.search(r"# (?:noqa|type: ignore)(.*)", line)
            above = lines[number - 1].strip().startswith("#") if number else False
            if silenced and not above and not re.search(r"(?: - |# )\w", silenced[1]):
                bare.append(f"{path.name}:{number + 1}: {line.strip()}")
    assert bare == []
