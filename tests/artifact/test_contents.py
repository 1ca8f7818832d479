from dataclasses import replace

import numpy as np
import pytest

from app.domain.contents import ArtifactContents, data_fingerprint, pair_weights
from app.domain.interactions import Features, Snapshot
from app.domain.words import Words
from tests.support.models import WEIGHTS, make_contents, make_snapshot, random_embeddings

KEYS = [("u1", "a", "enroll"), ("u1", "a", "like"), ("u1", "c", "drop"), ("u2", "a", "drop"), ("u2", "b", "enroll")]
USERS, ITEMS = ["u1", "u2", "u3"], ["a", "b", "c"]


def test_pairs_weights_and_popularity() -> None:
    contents = make_contents(USERS, ITEMS, KEYS)
    assert contents.seen_indptr.tolist() == [0, 2, 4, 4]
    assert contents.seen_items.tolist() == [0, 2, 0, 1]
    assert contents.seen_types.tolist() == [0b011, 0b100, 0b100, 0b001]
    assert pair_weights(contents.seen_types, contents.type_weights).tolist() == [2, 0, 0, 1]
    assert contents.popularity.tolist() == [1, 1, 0]  # a drop is no edge
    assert contents.user_degrees.tolist() == [2, 1, 0]
    assert contents.item_degrees.tolist() == [2, 1, 0]
    assert contents.n_interactions == 5


def test_a_type_without_a_weight_counts_one() -> None:
    snapshot = make_snapshot(["u"], ["a"], [("u", "a", "gone")], types=("enroll", "gone"))
    contents = ArtifactContents.from_snapshot(snapshot, {"enroll": 3.0}, random_embeddings(1, 1, 2))
    assert contents.type_weights == (3.0, 1.0)
    assert contents.item_degrees.tolist() == [1.0]


def test_nothing_at_all() -> None:
    contents = make_contents([], [], [])
    assert contents.seen_indptr.tolist() == [0]
    assert contents.popularity.shape == (0,)


def test_what_does_not_fit_is_refused() -> None:
    types = tuple(f"t{number}" for number in range(33))
    with pytest.raises(ValueError, match="33 interaction types; wanted at most 32"):
        ArtifactContents.from_snapshot(
            make_snapshot(["u"], ["a"], [], types=types), WEIGHTS, random_embeddings(1, 1, 2)
        )
    with pytest.raises(ValueError, match="vectors of 2 users and 1 items"):
        ArtifactContents.from_snapshot(make_snapshot(["u"], ["a"], []), WEIGHTS, random_embeddings(2, 1, 2))


def test_the_last_of_the_types_has_the_highest_bit() -> None:
    types = tuple(f"t{number}" for number in range(32))
    snapshot = make_snapshot(["u"], ["a"], [("u", "a", "t31"), ("u", "a", "t0")], types=types)
    contents = ArtifactContents.from_snapshot(snapshot, {"t31": 4.0}, random_embeddings(1, 1, 2))
    assert contents.seen_types.tolist() == [2**31 | 1]
    assert contents.user_degrees.tolist() == [4.0]


class TestFingerprint:
    @pytest.fixture
    def snapshot(self) -> Snapshot:
        return make_snapshot(USERS, ITEMS, KEYS)

    def test_neither_time_of_reading_nor_order_of_types_matters(self, snapshot: Snapshot) -> None:
        later = make_snapshot(USERS, ITEMS, KEYS, types=("drop", "view", "like", "enroll"), time=999)
        assert data_fingerprint(later) == data_fingerprint(snapshot)

    @pytest.mark.parametrize(
        "other",
        [
            make_snapshot([*USERS, "u4"], ITEMS, KEYS),
            make_snapshot(USERS, ["a", "b", "d"], [("u1" if k[0] == "u1" else "u2", k[1], k[2]) for k in KEYS[:2]]),
            make_snapshot(USERS, ITEMS, KEYS[1:]),
            make_snapshot(USERS, ITEMS, [("u1", "a", "drop"), *KEYS[1:]]),
            replace(make_snapshot(USERS, ITEMS, KEYS), timestamps=np.arange(5)),
            replace(
                make_snapshot(USERS, ITEMS, KEYS),
                item_features=Features(np.array([1], np.int32), np.ones((1, 2), np.float32)),
            ),
            replace(make_snapshot(USERS, ITEMS, KEYS), item_words=Words([["a"]], ["b"])),
        ],
    )
    def test_any_change_of_the_data_matters(self, snapshot: Snapshot, other: Snapshot) -> None:
        assert data_fingerprint(other) != data_fingerprint(snapshot)
