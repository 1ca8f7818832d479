"""Encoders of words that were learned before, by the hash of the words: an unchanged catalogue costs nothing."""

import contextlib
import logging
import os
import zipfile
from pathlib import Path

import numpy as np

from app.domain.content import Encoder
from app.domain.words import Words
from app.graph.content import LearnEncoder, learn_encoder

log = logging.getLogger(__name__)

RELEASE = 1  # of how words become numbers; grows when old encoders would no longer be learned alike
KEPT = 4  # files: of users and courses, those of the last two catalogues
PARTS = ("tokens", "rarities", "directions")


def remembering(folder: Path) -> LearnEncoder:
    """``learn_encoder`` with files in a folder; whatever is wrong with those, it learns anew."""

    def learn(words: Words, size: int, seed: int) -> Encoder | None:
        path = folder / f"encoder-{RELEASE}-{size}-{seed}-{words.digest[:32]}.npz"
        encoder = _read(path)
        if encoder is None:
            encoder = learn_encoder(words, size, seed)
            if encoder is not None:
                try:
                    _write(path, encoder)
                except OSError as error:
                    log.warning("what was learned of the words is not kept: %s", error)
        return encoder

    return learn


def _read(path: Path) -> Encoder | None:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            encoder = Encoder(*(arrays[name] for name in PARTS))
        os.utime(path)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        return None
    return encoder


def _write(path: Path, encoder: Encoder) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("wb") as file:
            np.savez(file, tokens=encoder.tokens, rarities=encoder.rarities, directions=encoder.directions)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    newest = sorted(path.parent.glob("encoder-*.npz"), key=lambda other: other.stat().st_mtime, reverse=True)
    for old in newest[KEPT:]:
        with contextlib.suppress(OSError):
            old.unlink()
