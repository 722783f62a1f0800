"""Whether what is printed stays in a notebook."""

import os
import sys

# set in a notebook's kernel, and so in what it starts: by Jupyter, by Colab
NOTEBOOKS = {"JPY_PARENT_PID", "COLAB_RELEASE_TAG"}


def in_kernel() -> bool:
    """Return whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    return hasattr(ipython.get_ipython(), "kernel") if ipython else False


def of_kernel() -> bool:
    """Return whether this process is such a kernel, or was started from its cells (`!python -m ...`)."""
    return bool(NOTEBOOKS & os.environ.keys())
