"""The pictures that are published with a model.  Whatever goes wrong with them, the model is published."""

import asyncio
import logging
from collections.abc import Mapping
from concurrent.futures import Executor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.domain.contents import ArtifactContents, pair_weights
from app.domain.courses import CourseFacts
from app.domain.ranking import softmax_percent, top_n
from app.plots.neighbourhood import (
    RECOMMENDED,
    Graph,
    Recommendation,
    edges_only,
    example_user,
    is_small,
    nothing,
    of_user,
    whole,
)
from app.plots.points import CourseLabel, GraphPoints, LossPoints, MapPoints, to_json
from app.plots.projection import Moments, map_of, shown_users
from app.store.client import Database
from app.store.courses import CourseStore
from app.training.result import TrainedModel
from app.training.users import Users

log = logging.getLogger(__name__)

Facts = Mapping[str, CourseFacts]
Pictures = dict[str, bytes]


class UsersToDraw(NamedTuple):
    """What pictures show of the users' vectors.

    shown: of ``shown_users``, (n, D).  moments: of all.  example: row of ``example_of`` and its
    vector, if there is one.
    """

    shown: NDArray[np.float32]
    moments: Moments
    example: tuple[int, NDArray[np.float32]] | None


def users_to_draw(users: Users, contents: ArtifactContents) -> UsersToDraw:
    """Asked of whoever has them.  Raises RankLostError."""
    sums, row = users.sums(received=False), example_of(contents)
    example = None if row is None else (row, users.rows(np.array([row]))[0])
    return UsersToDraw(users.rows(shown_users(len(users))), Moments(sums.total, sums.products), example)


async def draw_pictures(
    db: Database,
    contents: ArtifactContents,
    model_id: str,
    run_id: str,
    trained: TrainedModel,
    *,
    users: UsersToDraw,
    drawer: Executor | None = None,
) -> Pictures:
    """Files by name, graph.svg to embeddings.json; fewer when some could not be drawn, which the log then says.

    contents: the users' vectors are not needed.
    drawer: who draws; matplotlib keeps its fonts open for each thread that ever did.
    """
    pictures: Pictures = {}
    try:
        facts = {course_id: course async for course_id, course in CourseStore(db).facts()}
        loss = LossPoints(model_id, run_id, trained.losses, validation=trained.validation)
        await asyncio.get_running_loop().run_in_executor(drawer, _draw, pictures, contents, users, facts, loss)
    except ModuleNotFoundError as error:
        log.warning("model %s is published without SVG and PNG pictures: %s", model_id, error)
    except Exception:
        log.exception("not all pictures of model %s could be drawn; it is published all the same", model_id)
    return pictures


def _draw(pictures: Pictures, contents: ArtifactContents, users: UsersToDraw, facts: Facts, loss: LossPoints) -> None:
    assert loss.model_id is not None
    labels = {course_id: CourseLabel(course.title, course.categories) for course_id, course in facts.items()}
    pictures["loss.json"] = to_json(loss)
    graph = graph_points(contents, users, facts, loss.model_id)
    pictures["graph.json"] = to_json(graph)
    places = map_of(
        contents.users.ids,
        contents.items.ids,
        users.shown,
        contents.item_vectors,
        model_id=loss.model_id,
        labels=labels,
        moments=users.moments,
    )
    pictures["embeddings.json"] = to_json(places)
    _draw_files(pictures, loss, graph, places)


def _draw_files(pictures: Pictures, loss: LossPoints, graph: GraphPoints, places: MapPoints) -> None:
    from app.plots.embeddings import draw_embeddings  # noqa: PLC0415 - points are there without matplotlib too
    from app.plots.graph import draw_graph  # noqa: PLC0415
    from app.plots.loss import draw_loss  # noqa: PLC0415

    pictures["loss.svg"], pictures["loss.png"] = draw_loss(loss, "svg"), draw_loss(loss, "png")
    pictures["graph.svg"], pictures["graph.png"] = draw_graph(graph, "svg"), draw_graph(graph, "png")
    for format_ in ("svg", "png"):
        pictures[f"embeddings.{format_}"] = draw_embeddings(places, format_)


def _graph(contents: ArtifactContents, facts: Facts, model_id: str) -> Graph:
    weights = pair_weights(contents.seen_types, contents.type_weights)
    indptr, items = edges_only(contents.seen_indptr, contents.seen_items, weights)

    def label(course_id: str) -> CourseLabel:
        course = facts.get(course_id, CourseFacts())
        return CourseLabel(course.title, course.categories)

    return Graph(contents.users.ids, contents.items.ids, indptr, items, contents.items.row, label, model_id)


def example_of(contents: ArtifactContents) -> int | None:
    """The user whose neighbourhood stands for a graph that is too large to be drawn whole; None: there is none."""
    graph = _graph(contents, {}, "")
    return None if is_small(graph) else example_user(graph)


def graph_points(contents: ArtifactContents, users: UsersToDraw, facts: Facts, model_id: str) -> GraphPoints:
    """All of a small graph, else the neighbourhood of a user who stands for many."""
    graph = _graph(contents, facts, model_id)
    if is_small(graph):
        return whole(graph)
    if users.example is None:
        return nothing(graph)
    row, vector = users.example
    taken = [graph.item_ids[item] for item in graph.of_user(row).tolist()]
    return of_user(graph, graph.user_ids[row], taken, _recommended(contents, facts, row, vector), row=row)


def _recommended(
    contents: ArtifactContents, facts: Facts, row: int, vector: NDArray[np.float32]
) -> list[Recommendation]:
    ids = contents.items.ids
    scores = contents.item_vectors @ vector
    allowed = np.array([facts[id_].available if id_ in facts else False for id_ in ids], np.bool_)
    allowed[contents.seen_items[contents.seen_indptr[row] : contents.seen_indptr[row + 1]]] = False
    best = top_n(scores, allowed, RECOMMENDED)
    percents = softmax_percent(scores[best], 1.0).tolist()
    return [
        Recommendation(ids[item], rank, percent)
        for rank, (item, percent) in enumerate(zip(best.tolist(), percents, strict=True), 1)
    ]
