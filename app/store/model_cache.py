"""A directory of fetched models that the processes of a machine share: a model is there whole or not at all."""

import os
import re
import shutil
import tempfile
import time
from pathlib import Path

ASIDE = ".fetching-"
PART = "-part"  # ends the name of one that is there without some of its files
OURS = re.compile(rf"m-[0-9]{{6,}}-[0-9a-f]{{32}}(?:{PART})?|{re.escape(ASIDE)}.*")
UNUSED_SECONDS = 86_400.0  # who serves a model has it mapped; only one that starts or rolls back fetches it again


def reuse(directory: Path) -> bool:
    """Whether the model is there; notes that it was wanted."""
    try:
        os.utime(directory)
    except FileNotFoundError:
        return False
    return True


def make_aside(cache: Path) -> Path:
    """A directory beside the models to fetch one into."""
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=cache, prefix=ASIDE))


def settle(aside: Path, directory: Path) -> None:
    """Let a fetched model appear, with all its bytes on the disk; another process may have been faster."""
    for path in (*aside.iterdir(), aside):
        _sync(path)
    try:
        aside.rename(directory)
    except OSError:
        if not directory.is_dir():
            raise
    _sync(directory.parent)


def discard(directory: Path) -> None:
    """Remove a fetched model whose files turned out to be damaged, so that it is fetched anew."""
    aside = make_aside(directory.parent)
    try:
        directory.rename(aside / directory.name)
    except FileNotFoundError:  # another process was faster
        pass
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def sweep(cache: Path) -> None:
    """Remove what no process has wanted for UNUSED_SECONDS, and what processes that died left half fetched."""
    for path in cache.iterdir():
        try:
            unused = OURS.fullmatch(path.name) and time.time() - path.stat().st_mtime > UNUSED_SECONDS
        except FileNotFoundError:  # another process was faster
            continue
        if unused:
            shutil.rmtree(path, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
