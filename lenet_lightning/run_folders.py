"""Run folders as commands find them: which there are, and which is the newest."""

import os
from pathlib import Path


def newest(root: Path, *patterns: str) -> Path | None:
    """Return the first of these files (names or glob patterns) in the newest run below `root` that has any.

    The newest run is the one that <root>/latest links to, which `fit` sets at its start; if that has none of the
    files, or there is no such link, it is the run whose file was written last.
    """

    def file_of(run: Path) -> Path | None:
        for pattern in patterns:
            if files := [path for path in run.glob(pattern) if os.path.isfile(path)]:
                return max(files, key=_written)
        return None

    if (run := latest(root)) and (file := file_of(run)):
        return file
    return max(filter(None, map(file_of, below(root))), key=_written, default=None)


def below(root: Path) -> list[Path]:
    """Return the folders below `root`, by name, and links to folders elsewhere, but not the link `latest`."""
    try:
        found = sorted(root.iterdir())
    except OSError:
        return []
    return [path for path in found if os.path.isdir(path) and not (path.name == "latest" and path.is_symlink())]


def latest(root: Path) -> Path | None:
    """Return the run that the link <root>/latest points to, by its own name; None if there is no such link."""
    link = root / "latest"
    if not link.is_symlink():
        return None
    target = os.readlink(link)
    # `fit` links to a name in the same folder; a link that a person made may point anywhere
    run = root / target if os.path.basename(target) == target else Path(os.path.realpath(link))
    return run if os.path.isdir(run) else None


def _written(path: Path) -> tuple[int, Path]:
    return path.stat().st_mtime_ns, path
