"""Item filters in a model's directory, where they stand by target too."""

import json
from pathlib import Path

import numpy as np
import pytest

from app.artifact.load import load_artifact
from app.artifact.manifest import MANIFEST
from app.artifact.top_lists import with_top_lists
from app.artifact.write import write_artifact
from app.domain.changes import InteractionChanged
from app.domain.contents import ArtifactContents
from app.domain.courses import CourseFacts
from app.errors import ArtifactError
from app.serving.catalogue import Catalogue
from app.serving.index import ServingIndex
from app.serving.live import LiveModel
from app.serving.options import Options
from tests.artifact import test_artifact
from tests.support.models import DESCRIPTION, light_gcn_contents, random_filter

ITEMS = [f"c{number:03}" for number in range(200)]
USERS = [f"u{number:02}" for number in range(30)]
KEYS = [(user, ITEMS[(7 * place + 3 * n) % 200], "enroll") for place, user in enumerate(USERS) for n in range(12)]


@pytest.fixture(scope="module")
def contents() -> ArtifactContents:
    return with_top_lists(light_gcn_contents(USERS, ITEMS, KEYS, item_filter=random_filter(len(ITEMS))), 100)


@pytest.fixture
def written(contents: ArtifactContents, tmp_path: Path) -> Path:
    write_artifact(tmp_path / "model", contents, DESCRIPTION)
    return tmp_path / "model"


def live(contents: ArtifactContents) -> LiveModel:
    facts = [(course, CourseFacts(categories=(f"k{number % 20}",))) for number, course in enumerate(ITEMS)]
    return LiveModel(ServingIndex("m-000001", contents), Catalogue(facts, 100))


def test_answers_by_target_are_those_by_what_was_taken(contents: ArtifactContents, written: Path) -> None:
    loaded = load_artifact(written).contents
    assert contents.filter_sources is None
    assert loaded.filter_sources is not None
    models = live(contents), live(loaded)
    for model in models:
        for course in ("c150", "c151"):
            model.overlay.apply(InteractionChanged(200, "u03", course, "enroll", removed=False))
    for user_id in USERS:
        for options in (Options(), Options(categories=("k3", "k11")), Options(n=30, exclude_seen=False)):
            ours, expected = (model.recommend(user_id, options) for model in models)
            ids = [item.course_id for item in ours.items]
            assert ids == [item.course_id for item in expected.items]
            np.testing.assert_allclose(
                [item.score for item in ours.items], [item.score for item in expected.items], atol=1e-5
            )
            explanation = models[1].explanation(user_id, ours)
            assert explanation is not None
            for item, reasons, others in zip(
                ours.items, explanation.reasons(), models[0].explain(user_id, ids), strict=True
            ):
                assert sum(reason.contribution for reason in reasons) == pytest.approx(item.score, abs=1e-5)
                assert sum(abs(reason.percent) for reason in reasons) == pytest.approx(100)
                amounts = {reason.course_id: reason.contribution for reason in reasons}
                assert amounts == pytest.approx({reason.course_id: reason.contribution for reason in others}, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "row", "rows", "problem"),
    [
        ("filter_sources", 201, 200, "outside"),
        ("filter_sources", 0, 199, "has shape"),
        ("filter_weights", 0, 199, "has shape"),
        ("filter_weights", np.inf, 200, "not finite"),
    ],
)
def test_what_does_not_fit_is_refused(written: Path, name: str, row: float, rows: int, problem: str) -> None:
    array = np.load(written / f"{name}.npy")[:rows]
    array[0] = row
    np.save(written / f"{name}.npy", array)
    data = (written / f"{name}.npy").read_bytes()
    test_artifact.TestDamage().rewrite(written, f"{name}.npy", data, list(array.shape))
    with pytest.raises(ArtifactError, match=rf"^{name}\.npy .*{problem}"):
        load_artifact(written)


def test_a_part_alone_is_refused(written: Path) -> None:
    values = json.loads((written / MANIFEST).read_text())
    del values["files"]["filter_weights.npy"]
    (written / MANIFEST).write_text(json.dumps(values))
    with pytest.raises(ArtifactError, match="filter"):
        load_artifact(written)


def test_models_of_older_releases_have_none_and_are_served(contents: ArtifactContents, written: Path) -> None:
    values = json.loads((written / MANIFEST).read_text())
    for name in ("filter_sources.npy", "filter_weights.npy"):
        del values["files"][name]
    (written / MANIFEST).write_text(json.dumps(values))
    loaded = load_artifact(written).contents
    assert loaded.filter_sources is None
    expected = live(contents).recommend("u07", Options(categories=("k3",)))
    assert live(loaded).recommend("u07", Options(categories=("k3",))).items == expected.items
