"""Points whose right values are known without the code, and files that are what they should be."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from app.plots.embeddings import draw_embeddings
from app.plots.graph import draw_graph
from app.plots.loss import draw_loss
from app.plots.neighbourhood import (
    Graph,
    Recommendation,
    edges_only,
    example_user,
    is_small,
    nothing,
    of_course,
    of_user,
    whole,
    without_users,
)
from app.plots.points import CourseLabel, GraphCourse, GraphPoints, LossPoints, graph_from, loss_from, to_json
from app.plots.projection import Moments, map_of, pca, shown_users
from app.plots.vector import graph_svg, loss_svg

TITLES = [
    "<b>Logic</b> & $x_1$",
    "مقدمة في البرمجة",
    "机器学习导论",
    "A very long title that " + "goes on and " * 20,
    "\x0b",
]
SVG = "{http://www.w3.org/2000/svg}"


def make_graph(taken: Sequence[Sequence[int]], n_items: int) -> Graph:
    """User u took the items ``taken[u]``; ids are u0, u1, ... and c0, c1, ..."""
    ids = [f"c{item}" for item in range(n_items)]
    rows = {id_: row for row, id_ in enumerate(ids)}
    return Graph(
        user_ids=[f"u{user}" for user in range(len(taken))],
        item_ids=ids,
        indptr=np.concatenate([[0], np.cumsum([len(items) for items in taken])]).astype(np.int64),
        items=np.array([item for items in taken for item in sorted(items)], np.int32),
        item_row=rows.get,
        label=lambda id_: (
            CourseLabel(TITLES[rows[id_] % 5], (f"Category {rows[id_] % 3}",)) if id_ in rows else CourseLabel()
        ),
        model_id="m-000001",
    )


SMALL = make_graph([[0, 1], [1, 2], [2, 0, 4]], 5)
LARGE = make_graph([[user % 40, (user + 1) % 40, (user + 2) % 40, 39 - user % 3] for user in range(60)], 40)


def pairs(points: GraphPoints, kind: str = "taken") -> set[tuple[str, str]]:
    return {(edge.user_id, edge.course_id) for edge in points.edges if edge.kind == kind}


# --- points


def test_a_small_graph_is_shown_whole() -> None:
    assert is_small(SMALL)
    assert not is_small(LARGE)
    points = whole(SMALL)
    assert pairs(points) == {
        ("u0", "c0"),
        ("u0", "c1"),
        ("u1", "c1"),
        ("u1", "c2"),
        ("u2", "c0"),
        ("u2", "c2"),
        ("u2", "c4"),
    }
    assert [(course.course_id, course.users) for course in points.courses] == [
        ("c0", 2), ("c1", 2), ("c2", 2), ("c3", 0), ("c4", 1)
    ]  # fmt: skip
    assert [user.courses for user in points.users] == [2, 2, 3]


def test_the_neighbourhood_of_a_user() -> None:
    recommended = [Recommendation("c2", 1, 80.0), Recommendation("newer", 2, 20.0)]
    points = of_user(SMALL, "u0", ["c0", "c1", "own-newer"], recommended, row=0)
    assert [user.user_id for user in points.users] == ["u0", "u1", "u2"]
    assert pairs(points, "recommended") == {("u0", "c2"), ("u0", "newer")}
    assert pairs(points) == {
        ("u0", "c0"), ("u0", "c1"), ("u0", "own-newer"), ("u1", "c1"), ("u1", "c2"), ("u2", "c0"), ("u2", "c2")
    }  # fmt: skip
    assert {course.course_id: course.rank for course in points.courses} == {
        "c0": None, "c1": None, "c2": 1, "own-newer": None, "newer": 2
    }  # fmt: skip
    assert points.hidden == 0
    hidden = of_user(SMALL, "u0", ["c0", "c1"], recommended, row=0, hide=frozenset({"u1"}))
    assert [user.user_id for user in hidden.users] == ["u0", "u2"]


def test_a_stranger_with_nothing_taken_stands_alone() -> None:
    points = of_user(SMALL, "stranger", [], [Recommendation("c2", 1, 100.0)], row=None)
    assert [user.user_id for user in points.users] == ["stranger"]
    assert pairs(points) == set()


def test_a_neighbourhood_has_room_for_some_only() -> None:
    crowd = make_graph([[0, *range(1, 30)] for _ in range(100)], 30)
    points = of_user(crowd, "u5", [f"c{item}" for item in range(30)], [], row=5)
    assert (len(points.users), len(points.courses)) == (13, 14)
    assert "u5" not in [user.user_id for user in points.users[1:]]
    assert points.hidden == (30 - 14) + (99 - 12)


def test_the_neighbourhood_of_a_course() -> None:
    points = of_course(SMALL, "c2")
    assert {user.user_id for user in points.users} == {"u1", "u2"}
    assert [course.course_id for course in points.courses] == ["c2", "c0", "c1", "c4"]
    assert [course.course_id for course in of_course(SMALL, "newer").courses] == ["newer"]
    assert of_course(SMALL, "c3").users == ()
    assert {user.user_id for user in of_course(SMALL, "c2", frozenset({"u1"})).users} == {"u2"}


def test_an_example_stands_for_a_large_graph() -> None:
    row = example_user(LARGE)
    assert row is not None
    assert 3 <= len(LARGE.of_user(row)) <= 4
    assert example_user(make_graph([[], []], 3)) is None


def test_interactions_without_weight_are_no_edges() -> None:
    indptr, items = edges_only(np.array([0, 2, 3]), np.array([0, 1, 1], np.int32), np.array([1.0, 0.0, 2.0]))
    assert (indptr.tolist(), items.tolist()) == ([0, 1, 2], [0, 1])


def test_a_deleted_user_is_taken_out() -> None:
    points = without_users(whole(SMALL), frozenset({"u1"}))
    assert {user.user_id for user in points.users} == {"u0", "u2"}
    assert all(user != "u1" for user, _ in pairs(points))


def test_json_comes_back() -> None:
    points = of_user(SMALL, "u0", ["c0"], [Recommendation("c2", 1, 99.5)], row=0)
    assert graph_from(json.loads(to_json(points))) == points
    loss = LossPoints("m", "r", (2.0, 1.0), validation=((2, 0.5),))
    assert loss_from(json.loads(to_json(loss))) == loss


def test_pca_finds_the_plane() -> None:
    rng = np.random.default_rng(3)
    hidden = rng.normal(size=(200, 2)) * [3.0, 1.0]
    directions, _ = np.linalg.qr(rng.normal(size=(6, 2)))
    plane, shares = pca(hidden @ directions.T + 5.0)
    assert sum(shares) == pytest.approx(1.0)
    assert shares[0] == pytest.approx(np.var(plane[:, 0]) / np.var(plane, axis=0).sum())
    centred = hidden - hidden.mean(axis=0)
    assert np.linalg.norm(plane, axis=1) == pytest.approx(np.linalg.norm(centred, axis=1))  # distances are kept
    assert np.cov(plane.T)[0, 1] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (1, 4), (5, 1)])
def test_pca_of_little(shape: tuple[int, int]) -> None:
    plane, shares = pca(np.arange(shape[0] * shape[1], dtype=np.float32).reshape(shape))
    assert plane.shape == (shape[0], 2)
    assert all(0 <= share <= 1 for share in shares)


def test_a_map_shows_all_courses_and_so_many_users() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(60_000, 3)).astype(np.float32)
    ids = [f"u{user}" for user in range(60_000)]
    moments = Moments(vectors.sum(axis=0, dtype=np.float64), vectors.astype(np.float64).T @ vectors)
    labels = {"c0": CourseLabel("Logic", ("A", "B"))}
    points = map_of(ids, ["c0"], vectors[shown_users(60_000)], vectors[:1], labels=labels, moments=moments)
    plane, shares = pca(np.concatenate([vectors, vectors[:1]]))
    np.testing.assert_allclose(points.users.x, plane[shown_users(60_000), 0], atol=2e-5)
    np.testing.assert_allclose(points.explained_variance, shares, atol=2e-6)
    assert len(points.users.ids) == len(points.users.x) == len(points.users.y) == 50_000
    assert points.n_users == 60_000
    assert (points.courses.titles, points.courses.categories) == (["Logic"], [["A", "B"]])
    by_id = dict(zip(points.users.ids, points.users.x, strict=True))
    if "u0" in by_id:
        assert by_id["u0"] == points.courses.x[0]


# --- files

BEST = [Recommendation("c2", 1, 60.0), Recommendation("c3", 2, 40.0)]
GRAPHS = {
    "small": whole(SMALL),
    "user": of_user(LARGE, "u7", ["c7", "c8", "c9"], BEST, row=7),
    "course": of_course(LARGE, "c7"),
    "empty": nothing(make_graph([], 0)),
}  # fmt: skip
LOSSES = {
    "usual": LossPoints("m", "r", tuple(1 / (1 + step) for step in range(50)), validation=((25, 0.1), (50, 0.2))),
    "one": LossPoints("m", "r", (1.0,)),
    "none": LossPoints(None, "r", ()),
}


def is_png(content: bytes) -> bool:
    with Image.open(BytesIO(content)) as image:
        image.load()
        return image.format == "PNG" and image.width >= 800


@pytest.mark.parametrize("name", GRAPHS)
def test_drawn_graphs(name: str) -> None:
    points = GRAPHS[name]
    text = "".join(ET.fromstring(draw_graph(points, "svg")).itertext())
    assert all(user.user_id in text for user in points.users)
    assert name == "empty" or ("user" in text and "course" in text)
    assert ("recommended" in text) == (name == "user")
    assert is_png(draw_graph(points, "png"))
    by_hand = ET.fromstring(graph_svg(points))
    assert len(by_hand.findall(f"{SVG}line")) == len(points.edges) + (1 if name != "user" else 2)  # and the legend
    dashed = [line for line in by_hand.findall(f"{SVG}line") if line.get("stroke-dasharray")]
    assert len(dashed) == (3 if name == "user" else 0)


@pytest.mark.parametrize("name", LOSSES)
def test_drawn_losses(name: str) -> None:
    text = "".join(ET.fromstring(draw_loss(LOSSES[name], "svg")).itertext())
    assert "Epoch" in text
    assert "Mean loss of the epoch" in text
    assert ("NDCG@20 on held-out interactions" in text) == (name == "usual")
    assert is_png(draw_loss(LOSSES[name], "png"))
    by_hand = ET.fromstring(loss_svg(LOSSES[name]))
    assert len(by_hand.findall(f"{SVG}polyline")) == {"usual": 2, "one": 1, "none": 0}[name]


@pytest.mark.parametrize(("n_users", "n_items"), [(3, 5), (60, 40), (3_000, 40), (0, 0), (1, 0)])
def test_drawn_maps(n_users: int, n_items: int) -> None:
    rng = np.random.default_rng(1)
    graph = make_graph([[]] * n_users, n_items)
    vectors = rng.normal(size=(n_users + n_items, 4)).astype(np.float32)
    labels = {id_: graph.label(id_) for id_ in graph.item_ids}
    points = map_of(graph.user_ids, graph.item_ids, vectors[:n_users], vectors[n_users:], labels=labels)
    content = draw_embeddings(points, "svg")
    assert len(content) < 600_000
    text = "".join(ET.fromstring(content).itertext())
    for axis, share in zip(("First", "Second"), points.explained_variance, strict=True):
        assert f"{axis} principal component ({share:.0%} of the variance)" in text
    if n_items:
        assert "Category 1" in text
    if n_users == 3:
        assert {"u0", "u1", "u2"} & set(text.split()) or "u0" in text
    assert is_png(draw_embeddings(points, "png"))


def test_titles_stand_as_they_are() -> None:
    for content in (draw_graph(GRAPHS["small"], "svg"), graph_svg(GRAPHS["small"])):
        text = "".join(ET.fromstring(content).itertext())
        assert all(title in text for title in TITLES[:3])
        assert b"<b>" not in content


def test_equal_points_give_equal_files() -> None:
    assert draw_graph(GRAPHS["user"], "svg") == draw_graph(GRAPHS["user"], "svg")
    assert draw_loss(LOSSES["usual"], "png") == draw_loss(LOSSES["usual"], "png")


def test_a_png_without_the_font_says_so(caplog: pytest.LogCaptureFixture) -> None:
    graph = make_graph([[0]], 1)
    assert graph.label("c0").title == TITLES[0]
    draw_graph(whole(graph), "png")
    assert caplog.messages == []
    unknown = replace(whole(graph), courses=(GraphCourse("c0", "\U0001f9e0", (), 1),))  # no font that is asked has it
    draw_graph(unknown, "svg")
    draw_graph(unknown, "png")
    assert ["fonts-wqy-microhei" in message for message in caplog.messages] == [True]
