"""What labels tell of courses that are newer than the model, and of interests."""

from dataclasses import replace

import numpy as np
import pytest

from app.domain.changes import CourseChanged, InteractionChanged
from app.domain.contents import ArtifactContents
from app.domain.courses import CourseFacts
from app.serving.catalogue import Catalogue, CatalogueView
from app.serving.content import RIDGE, ContentMap, Profile, known_edges
from app.serving.index import ServingIndex
from app.serving.live import LiveModel
from app.serving.options import Options
from tests.support.models import light_gcn_contents

ITEMS = tuple(f"c{number:02}" for number in range(40))
USERS = tuple(f"u{number:02}" for number in range(30))
START = 100


def facts_of(row: int) -> CourseFacts:
    return CourseFacts(categories=("art" if row % 2 else "law",), tags=(f"t{row % 5}",), level="easy")


@pytest.fixture
def contents() -> ArtifactContents:
    """Half the users take art only, the others law."""
    keys = {
        (user, item, "enroll")
        for number, user in enumerate(USERS)
        for row, item in enumerate(ITEMS)
        if row % 2 == number % 2 and (row + number) % 3
    }
    return replace(light_gcn_contents(USERS, ITEMS, keys), popularity=np.full(40, 12, np.float32))


@pytest.fixture
def catalogue() -> Catalogue:
    return Catalogue([(item, facts_of(row)) for row, item in enumerate(ITEMS)], START)


def fitted(contents: ArtifactContents, catalogue: Catalogue) -> tuple[ServingIndex, ContentMap]:
    index = ServingIndex("m-000001", contents)
    content = ContentMap.fit(index, CatalogueView(catalogue, index))
    assert content is not None
    return index, content


def test_it_is_the_ridge_regression(contents: ArtifactContents, catalogue: Catalogue) -> None:
    """Where the gradient of the loss is zero."""
    index, content = fitted(contents, catalogue)
    labels = [("categories", "art"), ("categories", "law"), ("level", "easy"), *(("tags", f"t{i}") for i in range(5))]
    assert set(content.columns) == set(labels)
    has = np.zeros((40, 8))
    for row in range(40):
        facts = facts_of(row)
        names = [("categories", facts.categories[0]), ("tags", facts.tags[0]), ("level", "easy")]
        has[row, [content.columns[name] for name in names]] = 1  # type: ignore[index]  # plain strings are its names
    wanted = index.item_vectors - index.item_vectors.mean(axis=0)
    gradient = has.T @ (has @ content.weights - wanted) + RIDGE * content.weights
    np.testing.assert_allclose(gradient, 0, atol=1e-4)
    np.testing.assert_allclose(content.vectors([facts_of(0)])[0], content.mean + has[0] @ content.weights, rtol=1e-5)


def test_unknown_labels_say_nothing(contents: ArtifactContents, catalogue: Catalogue) -> None:
    _, content = fitted(contents, catalogue)
    assert not content.vectors([CourseFacts(tags=("unheard-of",)), CourseFacts(), None]).any()


def test_without_known_courses_there_is_no_map(contents: ArtifactContents, catalogue: Catalogue) -> None:
    index = ServingIndex("m-000001", replace(contents, popularity=np.full(40, 9, np.float32)))
    assert ContentMap.fit(index, CatalogueView(catalogue, index)) is None


def test_new_courses_take_their_places_in_the_lists(contents: ArtifactContents, catalogue: Catalogue) -> None:
    index, content = fitted(contents, catalogue)
    live = LiveModel(index, catalogue, content=content)
    for name, label in (("new-art", "art"), ("new-law", "law")):
        catalogue.apply(CourseChanged(START + 1, name, CourseFacts(categories=(label,), level="easy")))
    for wanted in (Options(n=100), Options(n=3), Options(n=3, offset=2, percent_over="candidates")):
        answer = live.recommend("u01", wanted)
        vector = index.contents.user_vectors[1]
        scores = {item: float(index.item_vectors[row] @ vector) for row, item in enumerate(ITEMS)}
        for place, name in enumerate(("new-art", "new-law")):
            scores[name] = float(live.shelf.course_vectors([40 + place])[0] @ vector)
        taken = {ITEMS[row] for row in index.seen_items("u01")}
        best = sorted((id_ for id_ in scores if id_ not in taken), key=lambda id_: -scores[id_])
        assert [item.course_id for item in answer.items] == best[wanted.offset : wanted.offset + wanted.n]
        for item in answer.items:
            assert item.score == pytest.approx(scores[item.course_id], abs=1e-5)
    assert scores["new-art"] > scores["new-law"]
    assert next(live.recommend_many(["u01"], Options(n=100))).items == live.recommend("u01", Options(n=100)).items
    assert sum(reason.contribution for reason in live.explain("u01", ["new-art"])[0]) == pytest.approx(
        scores["new-art"], abs=1e-5
    )


def test_a_new_course_that_was_taken_is_not_listed(contents: ArtifactContents, catalogue: Catalogue) -> None:
    index, content = fitted(contents, catalogue)
    live = LiveModel(index, catalogue, content=content)
    catalogue.apply(CourseChanged(START + 1, "new-art", CourseFacts(categories=("art",))))
    assert "new-art" in {item.course_id for item in live.recommend("u01", Options(n=100)).items}
    live.overlay.apply_local(InteractionChanged(START + 1, "u01", "new-art", "enroll", removed=False))
    assert "new-art" not in {item.course_id for item in live.recommend("u01", Options(n=100)).items}


def test_interests_share_their_weight(contents: ArtifactContents, catalogue: Catalogue) -> None:
    view = CatalogueView(catalogue, ServingIndex("m-000001", contents))
    edges = known_edges(view, ["c00", "unheard-of"], {"t1": 4.0, "art": 2.0, "law": -1.0, "nothing": 9.0})
    weights = dict(zip(edges.rows.tolist(), edges.weights.tolist(), strict=True))
    assert weights[0] == 1.0
    assert weights[1] == pytest.approx(4 / 8 + 2 / 20)  # both t1 and art
    assert weights[3] == pytest.approx(2 / 20)
    assert weights[6] == pytest.approx(4 / 8)
    assert 2 not in weights


def test_interests_find_their_courses(contents: ArtifactContents, catalogue: Catalogue) -> None:
    live = LiveModel(ServingIndex("m-000001", contents), catalogue)
    answer = live.recommend_to([], Profile({"art": 1.0}), Options(n=10))
    assert answer.source == "content"
    assert sum(int(item.course_id[1:]) % 2 for item in answer.items) >= 8
