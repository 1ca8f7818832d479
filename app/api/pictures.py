"""Pictures: those that the worker published with a model, and neighbourhoods and running curves drawn when asked."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from app.api.live import Live
from app.api.recommender import Recommender
from app.domain.contents import pair_weights
from app.errors import NoModelError, NoPictureError, UnknownCourseError, UnknownModelError, UnknownUserError
from app.plots.neighbourhood import (
    RECOMMENDED,
    Graph,
    Recommendation,
    edges_only,
    of_course,
    of_user,
    without_users,
)
from app.plots.points import CourseLabel, GraphPoints, LossPoints, graph_from, loss_from, to_json
from app.plots.vector import graph_svg, loss_svg
from app.serving.catalogue import Catalogue
from app.serving.live import LiveModel
from app.serving.options import Options
from app.store.models import ModelStore
from app.store.runs import RunStore

Format = Literal["svg", "png", "json"]
MEDIA_TYPES = {"svg": "image/svg+xml", "png": "image/png", "json": "application/json"}


@dataclass(frozen=True, slots=True)
class Picture:
    """The bytes of a file, and what they are."""

    content: bytes
    media_type: str


class PictureService:
    """All pictures.  Of users who were deleted since the model was trained nothing is shown."""

    def __init__(self, live: Live, recommender: Recommender, models: ModelStore, runs: RunStore) -> None:
        self._live, self._recommender, self._models, self._runs = live, recommender, models, runs
        self._graph: Graph | None = None  # of the model that was last asked about

    async def graph(self, format_: Format) -> Picture:
        """The graph of the served model.  Raises NoModelError, NoPictureError."""
        model_id = await self._current()
        gone = self._gone()
        if not gone and self._knows_who_is_gone():
            return await self._published(model_id, "graph", format_)
        document = orjson.loads((await self._published(model_id, "graph", "json")).content)
        points = graph_from(document)
        gone |= await self._strangers([user.user_id for user in points.users])
        if gone.isdisjoint(user.user_id for user in points.users):
            return await self._published(model_id, "graph", format_)
        if points.focus in gone:
            raise NoPictureError(f"graph.{format_}", "the user whom it showed was deleted; the next model has another")
        return await _drawn("graph", without_users(points, gone), format_)

    async def neighbourhood(self, format_: Format, user_id: str | None, course_id: str | None) -> Picture:
        """The graph round one user or course, as it is now.  Raises NoModelError, UnknownUserError, and such."""
        current = self._live.current()
        model = current.model
        if model is None:
            raise NoModelError
        if user_id is not None and await self._recommender.unknown([user_id]) is not None:
            raise UnknownUserError(user_id)
        if course_id is not None and course_id not in current.catalogue:
            raise UnknownCourseError(course_id)
        graph = await self._graph_of(model, current.catalogue)
        gone = self._gone()
        if user_id is not None:
            ranked = (await self._recommender.recommend(user_id, Options(n=RECOMMENDED))).ranked
            await self._recommender.meet(model, [user_id])
            recommended = [Recommendation(item.course_id, item.rank, item.percent) for item in ranked.items]
            taken = _taken_by(model, user_id)
            row = model.index.users.row(user_id)
            points = await asyncio.to_thread(of_user, graph, user_id, taken, recommended, row=row, hide=gone)
        else:
            assert course_id is not None
            points = await asyncio.to_thread(of_course, graph, course_id, gone)
        return await _drawn("graph", points, format_)

    async def loss(self, format_: Format, run_id: str | None) -> Picture:
        """The loss curve of the served model, or of a run while it runs.  Raises NoModelError, UnknownRunError."""
        if run_id is None:
            return await self._published(await self._current(), "loss", format_)
        run = await self._runs.get(run_id)
        if run.model_id is not None:
            try:
                return await self._published(run.model_id, "loss", format_)
            except (UnknownModelError, NoPictureError):  # it is no longer kept
                pass
        return await _drawn("loss", LossPoints(run.model_id, run_id, tuple(run.losses)), format_)

    async def embeddings(self, format_: Format, model_id: str | None) -> Picture:
        """The map of a model's vectors.  Raises NoModelError, UnknownModelError, NoPictureError."""
        picture = await self._published(model_id or await self._current(), "embeddings", format_)
        gone = self._gone()
        if format_ != "json" or (not gone and self._knows_who_is_gone()):  # others name users only where there are few
            return picture
        gone |= await self._strangers(
            orjson.loads(picture.content)["users"]["ids"]
        )  # they are named where they are few
        return Picture(await asyncio.to_thread(_without, picture.content, gone), picture.media_type)

    # ---

    async def _current(self) -> str:
        model_id = await self._models.current()
        if model_id is None:
            raise NoModelError
        return model_id

    async def _published(self, model_id: str, name: str, format_: Format) -> Picture:
        file = f"{name}.{format_}"
        content = await self._models.file(model_id, file)
        if content is not None:
            return Picture(content, MEDIA_TYPES[format_])
        if format_ == "svg" and name != "embeddings":  # a worker without matplotlib publishes points alone
            points = await self._models.file(model_id, f"{name}.json")
            if points is not None:
                draw = {"graph": _draw_graph, "loss": _draw_loss}[name]
                return Picture(draw(orjson.loads(points)), MEDIA_TYPES[format_])
        raise NoPictureError(file, f"model {model_id} was published without it; its run's log says why")

    def _gone(self) -> frozenset[str]:
        model = self._live.current().model
        if model is None:
            return frozenset()
        overlay = model.overlay
        return frozenset(user_id for user_id in overlay.touched_users() if overlay.forgotten(user_id))

    def _knows_who_is_gone(self) -> bool:
        """Whether all who were deleted since the model was trained are known, also those whom it does not hold."""
        model = self._live.current().model
        return model is None or not model.index.is_partial

    async def _strangers(self, user_ids: Sequence[str]) -> frozenset[str]:
        return (
            frozenset()
            if self._knows_who_is_gone()
            else frozenset({id_ async for id_ in self._recommender.strangers(user_ids)})
        )

    async def _graph_of(self, model: LiveModel, catalogue: Catalogue) -> Graph:
        """Edges of the model's graph, kept until another model is served."""
        model_id = model.index.model_id
        if self._graph is None or self._graph.model_id != model_id:
            contents = model.index.contents

            def label(course_id: str) -> CourseLabel:
                facts = catalogue.get(course_id)
                return CourseLabel() if facts is None else CourseLabel(facts.title, facts.categories)

            def make() -> Graph:
                weights = pair_weights(contents.seen_types, contents.type_weights)
                indptr, items = edges_only(contents.seen_indptr, contents.seen_items, weights)
                return Graph(contents.users.ids, contents.items.ids, indptr, items, contents.items.row, label, model_id)

            self._graph = await asyncio.to_thread(make)
        return self._graph


def _taken_by(model: LiveModel, user_id: str) -> list[str]:
    """Courses that are edges of the user now, those that are newer than the model last."""
    ids, taken = model.index.items.ids, model.overlay.taken(user_id)
    if not model.overlay.touched(user_id):
        return [ids[row] for row in taken.rows.tolist()]
    return [*(ids[row] for row in model.overlay.edges(user_id).rows.tolist()), *sorted(taken.others)]


async def _drawn(name: Literal["graph", "loss"], points: GraphPoints | LossPoints, format_: Format) -> Picture:
    """SVG is written by hand; PNG takes matplotlib, which a process that only serves may not have."""
    draw: Callable[[], bytes]
    if format_ == "json":
        return Picture(to_json(points), MEDIA_TYPES["json"])
    if isinstance(points, GraphPoints):
        graph = points
        draw = (lambda: graph_svg(graph)) if format_ == "svg" else (lambda: _graph_png(graph))
    else:
        loss = points
        draw = (lambda: loss_svg(loss)) if format_ == "svg" else (lambda: _loss_png(loss))
    try:
        return Picture(await asyncio.to_thread(draw), MEDIA_TYPES[format_])
    except ModuleNotFoundError:
        raise NoPictureError(
            f"{name}.{format_}", "this one is drawn when asked for, and without matplotlib only as svg or json"
        ) from None


def _graph_png(points: GraphPoints) -> bytes:
    from app.plots.graph import draw_graph  # noqa: PLC0415 - half a second, and not in every installation

    return draw_graph(points, "png")


def _loss_png(points: LossPoints) -> bytes:
    from app.plots.loss import draw_loss  # noqa: PLC0415

    return draw_loss(points, "png")


def _draw_graph(document: dict[str, Any]) -> bytes:
    return graph_svg(graph_from(document))


def _draw_loss(document: dict[str, Any]) -> bytes:
    return loss_svg(loss_from(document))


def _without(content: bytes, gone: frozenset[str]) -> bytes:
    """The points of a map without these users."""
    document = orjson.loads(content)
    users = document["users"]
    kept = [place for place, id_ in enumerate(users["ids"]) if id_ not in gone]
    document["users"] = {name: [column[place] for place in kept] for name, column in users.items()}
    return orjson.dumps(document)
