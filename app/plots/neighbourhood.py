"""Which part of a graph is shown: all of a small one, else the neighbourhood of one user or course."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.plots.points import CourseLabel, GraphCourse, GraphEdge, GraphPoints, GraphUser, Scope

WHOLE = 30  # users and courses up to which all of a graph can be read
SHOWN_COURSES = 14  # of a neighbourhood, recommended ones not counted
SHOWN_USERS = 12
RECOMMENDED = 5
EXAMPLE_COURSES = (4, 10)  # taken by the user whose neighbourhood stands for a large graph

Rows = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A course that is recommended to the user of a neighbourhood."""

    course_id: str
    rank: int
    percent: float


@dataclass(frozen=True, slots=True)
class Graph:
    """Edges by user: the items of user u are ``items[indptr[u]:indptr[u + 1]]``, ascending; ids by row.

    item_row: row of an item's id, None for one that is newer.  label: of a course by its id.
    """

    user_ids: Sequence[str]
    item_ids: Sequence[str]
    indptr: NDArray[np.int64]
    items: Rows
    item_row: Callable[[str], int | None]
    label: Callable[[str], CourseLabel]
    model_id: str | None = None

    def of_user(self, row: int) -> Rows:
        """Items of a user."""
        return self.items[self.indptr[row] : self.indptr[row + 1]]

    def counts(self, rows: Sequence[int]) -> NDArray[np.int64]:
        """(U,) how many of these items each user has."""
        wanted = np.zeros(len(self.item_ids), np.bool_)
        wanted[list(rows)] = True
        before = np.concatenate([[0], np.cumsum(wanted[self.items])])
        counts: NDArray[np.int64] = before[self.indptr[1:]] - before[self.indptr[:-1]]
        return counts


def edges_only(indptr: NDArray[np.int64], items: Rows, weights: NDArray[np.floating]) -> tuple[NDArray[np.int64], Rows]:
    """The pairs (S,) with a weight above 0, which are the edges."""
    keep = weights > 0
    if keep.all():
        return indptr, items
    before = np.concatenate([[0], np.cumsum(keep)])
    return before[indptr], items[keep]


def is_small(graph: Graph) -> bool:
    """Whether all of it can be shown."""
    return len(graph.user_ids) <= WHOLE and len(graph.item_ids) <= WHOLE


def nothing(graph: Graph) -> GraphPoints:
    """Of a large graph in which nobody stands for many."""
    return GraphPoints(graph.model_id, "all", None, len(graph.user_ids), len(graph.item_ids), (), (), ())


def whole(graph: Graph) -> GraphPoints:
    """Everything."""
    return _points(graph, "all", None, range(len(graph.user_ids)), range(len(graph.item_ids)))


def example_user(graph: Graph) -> int | None:
    """The row of a user with a handful of courses, the same for the same graph; None without any edge."""
    degrees = np.diff(graph.indptr)
    least, most = EXAMPLE_COURSES
    fitting = np.flatnonzero((degrees >= least) & (degrees <= most))
    if len(fitting):
        return int(fitting[len(fitting) // 2])
    with_some = np.flatnonzero(degrees)
    if not len(with_some):
        return None
    middle = np.median(degrees[with_some])
    return int(with_some[np.argmin(np.abs(degrees[with_some] - middle))])


def of_user(
    graph: Graph,
    user_id: str,
    taken: Sequence[str],
    recommended: Sequence[Recommendation],
    *,
    row: int | None,
    hide: frozenset[str] = frozenset(),
) -> GraphPoints:
    """A user, the courses taken and recommended, and others who took them.

    taken: course ids, also such that are newer than the graph.  row: the user's own, to be no neighbour.
    hide: users who are not shown.
    """
    shown = list(taken[:SHOWN_COURSES])
    known, wanted = (
        [row for row in map(graph.item_row, ids) if row is not None]
        for ids in (shown, [one.course_id for one in recommended])
    )
    shared = graph.counts(known)
    likeness = shared + np.where(shared > 0, graph.counts(wanted), 0)
    if row is not None:
        likeness[row] = 0
    peers, n_peers = _best(graph, likeness, hide)
    own = GraphUser(user_id, len(taken))
    points = _points(graph, "user", user_id, peers, [*known, *wanted])
    of_course = {one.course_id: one for one in recommended}
    newer = [id_ for id_ in [*shown, *of_course] if graph.item_row(id_) is None]
    courses = [*points.courses, *(_course(graph, id_, 0) for id_ in newer)]
    mine = [GraphEdge(user_id, id_, "taken") for id_ in shown]
    mine += [GraphEdge(user_id, id_, "recommended") for id_ in of_course]
    return GraphPoints(
        model_id=graph.model_id,
        scope="user",
        focus=user_id,
        n_users=len(graph.user_ids),
        n_courses=len(graph.item_ids),
        users=(own, *points.users),
        courses=tuple(_ranked(course, of_course.get(course.course_id)) for course in courses),
        edges=(*mine, *points.edges),
        hidden=len(taken) - len(shown) + n_peers - len(peers),
    )


def of_course(graph: Graph, course_id: str, hide: frozenset[str] = frozenset()) -> GraphPoints:
    """A course, those who took it, and what else they took most; hide: users who are not shown.

    A course that the graph does not have stands alone.
    """
    row = graph.item_row(course_id)
    if row is None:
        n_users, n_courses = len(graph.user_ids), len(graph.item_ids)
        return GraphPoints(
            graph.model_id, "course", course_id, n_users, n_courses, (), (_course(graph, course_id, 0),), ()
        )
    users, n_takers = _best(graph, graph.counts([row]), hide)
    together = np.bincount(
        np.concatenate([graph.of_user(user) for user in users] or [graph.items[:0]]), minlength=len(graph.item_ids)
    )
    together[row] = 0
    others = np.argsort(-together, kind="stable")[:SHOWN_COURSES]
    others = others[together[others] > 0]
    points = _points(graph, "course", course_id, users, [row, *others.tolist()])
    return GraphPoints(
        model_id=graph.model_id,
        scope="course",
        focus=course_id,
        n_users=points.n_users,
        n_courses=points.n_courses,
        users=points.users,
        courses=points.courses,
        edges=points.edges,
        hidden=n_takers - len(users),
    )


def without_users(points: GraphPoints, gone: frozenset[str]) -> GraphPoints:
    """The same without these users and their lines."""
    return GraphPoints(
        model_id=points.model_id,
        scope=points.scope,
        focus=points.focus,
        n_users=points.n_users,
        n_courses=points.n_courses,
        users=tuple(user for user in points.users if user.user_id not in gone),
        courses=points.courses,
        edges=tuple(edge for edge in points.edges if edge.user_id not in gone),
        hidden=points.hidden,
    )


# ---


def _best(graph: Graph, likeness: NDArray[np.int64], hide: frozenset[str]) -> tuple[list[int], int]:
    """Users with the largest numbers, and how many have any."""
    order = np.argsort(-likeness, kind="stable")[: SHOWN_USERS + len(hide)]
    users = [int(row) for row in order if likeness[row] > 0 and graph.user_ids[row] not in hide]
    return users[:SHOWN_USERS], int(np.count_nonzero(likeness))


def _points(graph: Graph, scope: Scope, focus: str | None, users: Sequence[int], items: Sequence[int]) -> GraphPoints:
    """These users and items with the edges between them, courses in an order in which few lines cross."""
    takers = np.bincount(graph.items, minlength=len(graph.item_ids))
    among = set(items)
    pairs = [(user, item) for user in users for item in graph.of_user(user).tolist() if item in among]
    return GraphPoints(
        model_id=graph.model_id,
        scope=scope,
        focus=focus,
        n_users=len(graph.user_ids),
        n_courses=len(graph.item_ids),
        users=tuple(GraphUser(graph.user_ids[row], len(graph.of_user(row))) for row in users),
        courses=tuple(_course(graph, graph.item_ids[row], int(takers[row])) for row in items),
        edges=tuple(GraphEdge(graph.user_ids[user], graph.item_ids[item], "taken") for user, item in pairs),
    )


def _course(graph: Graph, course_id: str, users: int) -> GraphCourse:
    label = graph.label(course_id)
    return GraphCourse(course_id, label.title, label.categories, users)


def _ranked(course: GraphCourse, recommendation: Recommendation | None) -> GraphCourse:
    if recommendation is None:
        return course
    return GraphCourse(
        course.course_id,
        course.title,
        course.categories,
        course.users,
        rank=recommendation.rank,
        percent=round(recommendation.percent, 2),
    )
