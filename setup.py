"""Builds the package with configs/ inside of it; the rest is in pyproject.toml."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConfigs(build_py):
    """Adds a copy of configs/, which a checkout has beside the package."""

    def run(self) -> None:
        """Copy the package, then the configs; an editable installation reads those of the checkout."""
        super().run()
        if not self.editable_mode:
            self.copy_tree("configs", str(Path(self.build_lib, "lenet_lightning", "configs")))


setup(cmdclass={"build_py": BuildWithConfigs})
