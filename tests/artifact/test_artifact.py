import hashlib
import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.artifact.arrays import USER_FILES
from app.artifact.load import load_artifact
from app.artifact.manifest import MANIFEST
from app.artifact.top_lists import MOST_BYTES, SCORED, list_length, with_top_lists
from app.artifact.write import write_artifact
from app.domain.content import ContentMap, Encoder
from app.domain.contents import ArtifactContents, no_item
from app.domain.packed_ids import PackedIds, pack_ids
from app.errors import ArtifactError
from tests.support.models import DESCRIPTION, light_gcn_contents, make_contents

KEYS = [("u1", "a", "enroll"), ("u1", "c", "drop"), ("ü", "a", "like"), ("ü", "b", "enroll")]


@pytest.fixture
def contents() -> ArtifactContents:
    return make_contents(["u1", "ü", "nobody"], ["a", "b", "c"], KEYS)


@pytest.fixture
def written(tmp_path: Path, contents: ArtifactContents) -> Path:
    write_artifact(tmp_path / "model", contents, DESCRIPTION, pictures={"loss.svg": b"<svg/>"})
    return tmp_path / "model"


def test_what_is_written_is_what_is_loaded(tmp_path: Path, contents: ArtifactContents) -> None:
    manifest = write_artifact(tmp_path / "model", contents, DESCRIPTION, pictures={"loss.svg": b"<svg/>"})
    artifact = load_artifact(tmp_path / "model")
    assert artifact.manifest == manifest
    assert artifact.model_id == "m-000007"
    for field in fields(ArtifactContents):
        expected, found = getattr(contents, field.name), getattr(artifact.contents, field.name)
        if isinstance(expected, np.ndarray):
            np.testing.assert_array_equal(found, expected)
            assert found.dtype == expected.dtype
            assert not found.flags.writeable
            assert type(found) is np.ndarray
        else:
            assert found == expected


@given(n=st.integers(0, 6), seed=st.integers(0, 1))
def test_of_the_first_users_all_is_loaded_and_of_others_nothing(n: int, seed: int, tmp_path_factory: Any) -> None:
    users = ["a", "b", "c", "ü", "y"]
    keys = [("a", "x", "enroll"), ("c", "x", "drop"), ("c", "y", "like"), ("ü", "y", "enroll"), ("ü", "z", "like")]
    directory = tmp_path_factory.mktemp("held") / "model"
    contents = with_top_lists(make_contents(users, ["x", "y", "z"], keys, seed=seed), 2)
    contents = replace(contents, seen_weights=np.ones(len(contents.seen_items), np.float32))
    write_artifact(directory, contents, DESCRIPTION)
    if n == 0:
        for name in USER_FILES:
            (directory / name).unlink()
    found = load_artifact(directory, n).contents
    held = sorted(users)[:n]
    assert [*found.users.ids] == held
    assert found.holds_all_users == (n >= len(users))
    n_pairs = int(contents.seen_indptr[len(held)])
    for field in fields(ArtifactContents):
        wanted, own = getattr(contents, field.name), getattr(found, field.name)
        if not isinstance(wanted, np.ndarray):
            continue
        if field.name in ("user_vectors", "user_degrees", "top_items", "top_scores", "top_lasts"):
            wanted = wanted[:n]
        elif field.name in ("seen_items", "seen_types", "seen_weights"):
            wanted = wanted[:n_pairs]
        elif field.name == "seen_indptr":
            wanted = wanted[: n + 1]
        if own is None:
            assert n == 0
            assert field.name in ("top_items", "top_scores", "top_lasts", "seen_weights")
        else:
            np.testing.assert_array_equal(own, wanted)
            assert own.dtype == wanted.dtype


def test_damage_of_a_file_that_is_not_needed_is_none(written: Path) -> None:
    (written / "user_vectors.npy").write_bytes(b"")
    assert len(load_artifact(written, 0).contents.items) == 3
    with pytest.raises(ArtifactError, match=r"user_vectors\.npy"):
        load_artifact(written, 1)
    (written / "item_vectors.npy").write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"item_vectors\.npy"):
        load_artifact(written, 0)


def test_the_content_map_comes_back(tmp_path: Path, contents: ArtifactContents) -> None:
    encoder = Encoder(np.array([3, 7, 9], np.uint32), np.ones(3, np.float32), np.ones((3, 2), np.float32))
    content = ContentMap(encoder, np.arange(6, dtype=np.float32).reshape(2, 3), np.ones(3, np.float32))
    write_artifact(tmp_path / "model", replace(contents, content=content), DESCRIPTION)
    found = load_artifact(tmp_path / "model").contents.content
    assert found is not None
    for expected, own in ((encoder, found.encoder), (content, found)):
        for name in ("tokens", "rarities", "directions", "weights", "offset"):
            if hasattr(expected, name):
                np.testing.assert_array_equal(getattr(own, name), getattr(expected, name))
    damage = TestDamage()
    for name, array, problem in (
        ("content_tokens", np.array([3, 9, 7], "<u4"), "not ascending"),
        ("content_rarities", np.ones(2, "<f4"), "has shape"),
        ("content_weights", np.full((2, 3), np.nan, "<f4"), "not finite"),
    ):
        good = (tmp_path / "model" / f"{name}.npy").read_bytes()
        shape = list(np.load(tmp_path / "model" / f"{name}.npy").shape)
        np.save(tmp_path / "model" / f"{name}.npy", array)
        changed = (tmp_path / "model" / f"{name}.npy").read_bytes()
        damage.rewrite(tmp_path / "model", f"{name}.npy", changed, list(array.shape))
        with pytest.raises(ArtifactError, match=problem):
            load_artifact(tmp_path / "model")
        (tmp_path / "model" / f"{name}.npy").write_bytes(good)
        damage.rewrite(tmp_path / "model", f"{name}.npy", good, shape)
    values = json.loads((tmp_path / "model" / MANIFEST).read_text())
    del values["files"]["content_offset.npy"]
    (tmp_path / "model" / MANIFEST).write_text(json.dumps(values))
    with pytest.raises(ArtifactError, match="or none"):
        load_artifact(tmp_path / "model")


def test_the_manifest_tells_all_that_is_listed_of_models(written: Path) -> None:
    values = json.loads((written / MANIFEST).read_text())
    assert values["counts"] == {"users": 3, "courses": 3, "interactions": 4}
    assert values["created_at"] == "2026-11-24T10:00:00+00:00"
    assert values["embedding_size"] == 3
    assert values["files"]["item_vectors.npy"]["shape"] == [3, 3]
    names = {"run_id", "config", "seed", "device", "metrics", "losses", "data_fingerprint", "code_version", "fence"}
    assert names <= set(values)


def test_equal_models_are_equal_bytes(tmp_path: Path, written: Path, contents: ArtifactContents) -> None:
    write_artifact(tmp_path / "again", contents, DESCRIPTION, pictures={"loss.svg": b"<svg/>"})
    assert {path.name: path.read_bytes() for path in written.iterdir()} == {
        path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()
    }


def test_an_empty_model_is_a_model(tmp_path: Path) -> None:
    write_artifact(tmp_path / "model", make_contents([], [], []), DESCRIPTION)
    assert len(load_artifact(tmp_path / "model").contents.users) == 0


def test_a_model_is_never_overwritten(written: Path, contents: ArtifactContents) -> None:
    with pytest.raises(FileExistsError):
        write_artifact(written, contents, DESCRIPTION)


def test_nothing_is_left_of_a_write_that_fails(tmp_path: Path, contents: ArtifactContents) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_artifact(tmp_path / "model", contents, replace(DESCRIPTION, metrics={"model": {"recall@20": np.nan}}))
    assert list(tmp_path.iterdir()) == []


class TestOptionalArrays:
    """Messages, and lists that were made ready."""

    @pytest.fixture
    def written(self, tmp_path: Path) -> Path:
        contents = with_top_lists(light_gcn_contents(["u1", "u2"], ["a", "b", "c"], KEYS[:2]), 2)
        contents = replace(contents, fold_in_messages=np.arange(12, dtype=np.float32).reshape(3, 4))
        write_artifact(tmp_path / "model", contents, DESCRIPTION)
        return tmp_path / "model"

    def test_come_back(self, written: Path) -> None:
        contents = load_artifact(written).contents
        assert contents.own_weight == 1.0
        assert contents.item_messages is not None
        assert contents.item_messages.shape == (3, 4)
        assert contents.fold_in_messages is not None
        assert contents.fold_in_messages.ravel().tolist() == [*range(12)]
        assert contents.top_items is not None
        assert contents.top_items.dtype == np.uint16
        assert contents.top_items[0].tolist() == [1, no_item(contents.top_items)]  # u1 has seen a and c

    @pytest.mark.parametrize(
        ("name", "array", "problem"),
        [
            ("item_messages", np.zeros((3, 3), "<f4"), "has shape"),
            ("fold_in_messages", np.zeros((3, 3), "<f4"), "has shape"),
            ("item_messages", np.full((3, 4), np.nan, "<f4"), "not finite"),
            ("top_items", np.zeros((3, 2), "<i4"), "has shape"),
            ("top_items", np.zeros((2, 1), "<i4"), "has shape"),
            ("top_items", np.full((2, 2), 3, "<i4"), "outside"),
            ("top_items", np.full((2, 2), 3, "<u2"), "outside"),
            ("top_items", np.full((2, 2), -2, "<i4"), "outside"),
            ("top_scores", np.array([[1, 2], [1, 0]], "<f4"), "not sorted"),
            ("top_scores", np.zeros((2, 3), "<f4"), "has shape"),
            ("top_lasts", np.zeros(3, "<f4"), "has shape"),
            ("top_lasts", np.full(2, 1e9, "<f4"), "more than a score"),
        ],
    )
    def test_are_verified(self, written: Path, name: str, array: Any, problem: str) -> None:
        np.save(written / f"{name}.npy", array)
        TestDamage().rewrite(written, f"{name}.npy", (written / f"{name}.npy").read_bytes(), list(array.shape))
        with pytest.raises(ArtifactError, match=problem):
            load_artifact(written)

    def test_lists_without_scores_are_refused(self, written: Path) -> None:
        values = json.loads((written / MANIFEST).read_text())
        del values["files"]["top_scores.npy"]
        (written / MANIFEST).write_text(json.dumps(values))
        with pytest.raises(ArtifactError, match=r"^top_scores\.npy is missing"):
            load_artifact(written)

    def test_lists_of_an_older_format_have_all_their_scores(self, written: Path) -> None:
        contents = light_gcn_contents(["u1", "u2"], ["a", "b", "c"], KEYS[:2])
        older = replace(contents, top_items=np.array([[1, -1]] * 2, np.int32), top_scores=np.zeros((2, 2), np.float32))
        write_artifact(written.parent / "older", older, DESCRIPTION)
        read = load_artifact(written.parent / "older").contents
        assert read.top_items is not None
        assert read.top_items.dtype == np.int32
        assert read.top_lasts is None
        write_artifact(written.parent / "cut", replace(older, top_scores=np.zeros((2, 1), np.float32)), DESCRIPTION)
        with pytest.raises(ArtifactError, match=r"^top_scores\.npy has shape"):
            load_artifact(written.parent / "cut")


@pytest.mark.parametrize(
    ("n_users", "n_items", "wanted"),
    [(1_000, 5_000, 400), (100_000, 5_000, 400), (100_000, 70_000, 270), (10**6, 5_000, 21), (10**7, 5_000, 0)],
)
def test_all_lists_together_stay_small(n_users: int, n_items: int, wanted: int) -> None:
    length = list_length(n_users, n_items)
    assert length == wanted
    item = 2 if n_items < 2**16 else 4
    assert n_users * (length * item + min(length, SCORED) * 4 + 4) <= MOST_BYTES + 4 * n_users


class TestDamage:
    """Every file, damaged in every way, is named."""

    def damage(self, directory: Path, name: str, how: str) -> None:
        path = directory / name
        data = path.read_bytes()
        if how == "missing":
            path.unlink()
        elif how == "truncated":
            path.write_bytes(data[:-1])
        elif how == "longer":
            path.write_bytes(data + b"\0")
        else:
            path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))

    @pytest.mark.parametrize("how", ["missing", "truncated", "longer", "flipped"])
    def test_of_a_file(self, written: Path, how: str) -> None:
        for name in sorted(path.name for path in written.iterdir()):
            data = (written / name).read_bytes()
            if name == MANIFEST and how != "missing":
                continue
            self.damage(written, name, how)
            with pytest.raises(ArtifactError, match=f"^{name} ") as caught:
                load_artifact(written)
            assert caught.value.file == name
            (written / name).write_bytes(data)
        load_artifact(written)

    @pytest.mark.parametrize("text", ["", "{", "[]", "\xff", '{"format": 2}', '{"format": 1}'])
    def test_of_the_manifest(self, written: Path, text: str) -> None:
        (written / MANIFEST).write_bytes(text.encode("latin-1"))
        with pytest.raises(ArtifactError, match=r"^manifest\.json "):
            load_artifact(written)

    def test_of_the_directory(self, tmp_path: Path) -> None:
        with pytest.raises(ArtifactError, match=r"^manifest\.json is missing"):
            load_artifact(tmp_path / "absent")

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("created_at", "yesterday"),
            ("files", {}),
            ("files", {"../x": {"sha256": "", "size_bytes": 0, "shape": None, "dtype": None}}),
            ("files", {"x": {}}),
            ("counts", {"users": 9, "courses": 3, "interactions": 4}),
            ("counts", {"users": 3, "courses": 3}),
            ("type_weights", [1.0]),
        ],
    )
    def test_of_a_value_of_the_manifest(self, written: Path, key: str, value: Any) -> None:
        values = json.loads((written / MANIFEST).read_text())
        (written / MANIFEST).write_text(json.dumps(values | {key: value}))
        with pytest.raises(ArtifactError, match=r"^manifest\.json "):
            load_artifact(written)

    def test_a_file_above_the_directory_is_not_read(self, tmp_path: Path, written: Path) -> None:
        (tmp_path / "secret").write_bytes(b"1")
        self.rewrite(written, "../secret", b"1")
        with pytest.raises(ArtifactError, match="not a file of its own directory"):
            load_artifact(written)

    @pytest.mark.parametrize(
        ("name", "array", "problem"),
        [
            ("user_vectors", np.full((3, 3), np.nan, "<f4"), "not finite"),
            ("item_vectors", np.full((3, 3), -np.inf, "<f4"), "not finite"),
            ("item_vectors", np.full((3, 3), 1e30, "<f4"), "larger than 1e"),
            ("initial_item", np.zeros((3, 2), "<f4"), "has shape"),
            ("user_vectors", np.zeros((3, 3), "<f8"), "has dtype"),
            ("user_vectors", np.asfortranarray(np.arange(9, dtype="<f4").reshape(3, 3)), "C order"),
            ("popularity", np.array([1, -1, 0], "<f4"), "negative"),
            ("user_degrees", np.array([1, np.inf, 0], "<f8"), "not finite"),
            ("seen_indptr", np.array([0, 3, 2, 4], "<i8"), "does not fit"),
            ("seen_indptr", np.array([0, 2, 4], "<i8"), "has shape"),
            ("seen_items", np.array([0, 1, 2, 0], "<i4"), "not sorted"),
            ("seen_items", np.array([0, 2, 2, 2], "<i4"), "not sorted"),
            ("seen_items", np.array([0, 3, 0, 1], "<i4"), "outside"),
            ("seen_items", np.array([-1, 2, 0, 1], "<i4"), "outside"),
            ("seen_types", np.array([1, 0, 1, 1], "<u4"), "types other"),
            ("seen_types", np.array([1, 8, 1, 1], "<u4"), "types other"),
            ("user_ids", np.frombuffer(b"aabb\xff", "|u1"), "holds no ids"),
            ("item_ids", np.frombuffer(b"aac", "|u1"), "an id twice"),
            ("item_id_offsets", np.array([0, 2, 1, 3], "<i8"), "the offsets do not fit"),
        ],
    )
    def test_of_the_meaning(self, written: Path, name: str, array: Any, problem: str) -> None:
        """Files that are as the manifest says and still no model: a writer's bug must not be served."""
        np.save(written / f"{name}.npy", array)
        self.rewrite(written, f"{name}.npy", (written / f"{name}.npy").read_bytes(), list(array.shape))
        with pytest.raises(ArtifactError, match=problem):
            load_artifact(written)

    def test_pickles_are_not_opened(self, written: Path) -> None:
        np.save(written / "user_ids.npy", np.array([object()]), allow_pickle=True)
        self.rewrite(written, "user_ids.npy", (written / "user_ids.npy").read_bytes(), [1])
        with pytest.raises(ArtifactError, match="cannot be read as an array"):
            load_artifact(written)

    def rewrite(self, directory: Path, name: str, data: bytes, shape: list[int] | None = None) -> None:
        values = json.loads((directory / MANIFEST).read_text())
        facts = {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data), "shape": shape, "dtype": None}
        values["files"][name] = facts
        (directory / MANIFEST).write_text(json.dumps(values))


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), unique=True))
def test_ids_come_back_from_their_bytes(ids: list[str]) -> None:
    packed = PackedIds(*pack_ids(ids))
    assert [*packed] == ids
    assert [packed.get(id_) for id_ in ids] == [*range(len(ids))]
    assert packed.get("not there") is None
    assert "not there" not in packed
    if ids:
        assert packed[-1] == ids[-1]
        with pytest.raises(ValueError, match="twice"):
            PackedIds(*pack_ids([*ids, ids[0]]))
