"""The tab key, in a real bash."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(sys.executable).parent
ASK = """
eval "$(register-python-argcomplete lenet_lightning)"
COMP_LINE="$1" COMP_POINT=${#1} COMP_TYPE=9
_python_argcomplete lenet_lightning
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize(
    "line, expected",
    [
        ("lenet_lightning va", {"validate"}),
        ("lenet_lightning predict --inv", {"--invert"}),
        ("lenet_lightning predict --invert ", {"auto", "yes", "no"}),
        ("lenet_lightning describe --network lenet5_", {"lenet5_1998"}),
        pytest.param("lenet_lightning fit --data.split", {"--data.split_seed"}, marks=pytest.mark.usual),
        pytest.param("lenet_lightning validate --ckpt", {"--ckpt_path"}, marks=pytest.mark.usual),
        ("lenet_lightning nothing --in", {""}),
    ],
)
def test_it_completes(line, expected):
    asked = ["bash", "-c", ASK, "bash", line]
    done = subprocess.run(asked, env={"PATH": f"{SCRIPTS}:/usr/bin:/bin"}, capture_output=True, text=True, timeout=60)
    assert {word.strip() for word in done.stdout.splitlines()} == expected
    assert done.stderr == ""
