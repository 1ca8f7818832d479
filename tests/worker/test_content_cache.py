"""What was learned of words is found again."""

from pathlib import Path

import numpy as np
import pytest

import app.worker.content_cache as content_cache
from app.domain.content import Encoder
from app.domain.words import Words
from app.worker.content_cache import KEPT, remembering

WORDS = Words([["topic:a"], ["topic:a", "topic:b"], ["topic:b"], ["topic:c"]], ["x y", "y z", "z x", ""])


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def test_an_unchanged_catalogue_is_not_learned_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = remembering(tmp_path / "cache")(WORDS, 2, 0)
    assert first is not None

    def fail(*_: object) -> Encoder:
        raise AssertionError("learned again")

    monkeypatch.setattr(content_cache, "learn_encoder", fail)
    again = remembering(tmp_path / "cache")(WORDS, 2, 0)
    assert again is not None
    for name in ("tokens", "rarities", "directions"):
        np.testing.assert_array_equal(getattr(again, name), getattr(first, name))
    for changed in ((WORDS.part(0, 3), 2, 0), (WORDS, 1, 0), (WORDS, 2, 1)):
        with pytest.raises(AssertionError, match="learned again"):
            remembering(tmp_path / "cache")(*changed)


def test_a_damaged_file_is_learned_anew(tmp_path: Path) -> None:
    first = remembering(tmp_path)(WORDS, 2, 0)
    [path] = files(tmp_path)
    for data in (b"", b"PK nonsense", path.read_bytes()[:-100]):
        path.write_bytes(data)
        again = remembering(tmp_path)(WORDS, 2, 0)
        assert first is not None
        assert again is not None
        np.testing.assert_array_equal(again.directions, first.directions)


def test_few_files_are_kept_and_nothing_to_learn_leaves_none(tmp_path: Path) -> None:
    assert remembering(tmp_path)(Words([["a"]], [""]), 2, 0) is None
    assert files(tmp_path) == []
    for seed in range(KEPT + 2):
        remembering(tmp_path)(WORDS, 2, seed)
    assert len(files(tmp_path)) == KEPT


def test_a_folder_that_cannot_be_written_is_no_reason_to_fail(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert remembering(tmp_path / "file" / "cache")(WORDS, 2, 0) is not None
