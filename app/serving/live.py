"""A model together with what happened since: what a request is answered from."""

from collections.abc import Collection, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from app.domain.changes import ChangeBatch, InteractionChanged, UserChanged
from app.serving.catalogue import Catalogue, CatalogueView
from app.serving.content import ContentMap, Profile, feature_parts, known_edges
from app.serving.explain import explain, only_of
from app.serving.filters import allowed_rows, without
from app.serving.fold_in import VectorParts, new_parts
from app.serving.index import ServingIndex
from app.serving.lists import COMPLETE, listed, rank_popular, ranked
from app.serving.options import Options, Ranked, RankedList, Reason
from app.serving.overlay import Overlay
from app.serving.shelf import Shelf
from app.serving.top_lists import TopList, TopLists
from app.serving.users import UserVector, UserVectors

__all__ = ["LiveModel", "rank_popular"]

BLOCK_SCORES = 2**20  # scores computed at once for many users, 4 MiB


class LiveModel:
    """One model, its overlay, and the catalogue as it is.

    content: learned from the same model; with it courses that are newer than the model are scored too.
    Not for several threads: what is told and what is asked must take turns, as on an event loop.
    """

    def __init__(
        self,
        index: ServingIndex,
        catalogue: Catalogue,
        overlay: Overlay | None = None,
        content: ContentMap | None = None,
    ) -> None:
        self.index = index
        self.overlay = overlay or Overlay(index)
        self.users = UserVectors(index, self.overlay)
        self._catalogue, self.content = catalogue, content
        self._popularity = np.log1p(index.contents.popularity.astype(np.float64))
        self._lists = TopLists(index)
        self._shelf = Shelf(index, CatalogueView(catalogue, index), content)

    @property
    def shelf(self) -> Shelf:
        """The courses as they are now."""
        if self._shelf.view.version != self._catalogue.version:
            self._shelf = Shelf(self.index, CatalogueView(self._catalogue, self.index), self.content)
        return self._shelf

    def apply(self, batch: ChangeBatch) -> None:
        """Take in what the change stream tells of users."""
        for change in batch:
            if isinstance(change, InteractionChanged | UserChanged):
                self.overlay.apply(change)
        self.overlay.advance(batch.position)

    # --- asked

    def has_vector(self, course_id: str) -> bool:
        """Whether the course can be scored."""
        row = self.shelf.view.row(course_id)
        return row is not None and bool(self.shelf.course_vectors([row]).any())

    def recommend(self, user_id: str, options: Options) -> RankedList:
        """Courses for a user, by vectors or, for somebody who has none, by popularity."""
        user = self.users.get(user_id)
        if user is None:
            return self.popular(options, user_id)
        items = self._from_top_list(user_id, user, options) if _best_are_enough(options) else None
        if items is None:
            shelf = self.shelf
            items = ranked(shelf.scores(user.vector), self._allowed(shelf, options, user_id), options, shelf)
        return RankedList(self.index.model_id, user.source, items)

    def recommend_many(self, user_ids: Sequence[str], options: Options) -> Iterator[RankedList]:
        """The lists of many users in order; memory does not grow with their number.

        A block of them is scored at once, some 10 ms, and what is told meanwhile counts from the next block on.
        """
        if self.index.contents.top_items is not None and _best_are_enough(options):
            yield from (self.recommend(user_id, options) for user_id in user_ids)
            return
        block = max(1, BLOCK_SCORES // max(len(self.index.items), 1))
        for start in range(0, len(user_ids), block):
            yield from self._recommend_block(user_ids[start : start + block], options)

    def recommend_to(
        self,
        course_ids: Collection[str],
        profile: Profile,
        options: Options,
        user_id: str | None = None,
    ) -> RankedList:
        """Courses for somebody of whom this is known: courses taken, and what she says of herself.

        user_id: who it is, when what is not to be listed is known.
        """
        shelf = self.shelf
        if user_id is not None:
            allowed = self._allowed(shelf, options, user_id)
        else:
            allowed = allowed_rows(shelf.view, options, course_ids)
            if options.exclude_seen:
                allowed = without(allowed, shelf.view.rows(course_ids))
        parts = self._parts_of(course_ids, profile)
        if parts is None:
            items = ranked(self._popular_scores(shelf), allowed, options, shelf)
            return RankedList(self.index.model_id, "popular", items)
        items = ranked(shelf.scores(parts.vector), allowed, options, shelf)
        taken = any(course_id in self.index.items for course_id in course_ids)
        return RankedList(self.index.model_id, "fold_in" if taken else "content", items)

    def popular(self, options: Options, user_id: str | None = None) -> RankedList:
        """Most taken courses, those that the model does not know last; without what the user has taken, if given.

        The score is log(1 + users who took it), so the softmax is the share of takers, one added to each.
        """
        shelf = self.shelf
        items = ranked(self._popular_scores(shelf), self._allowed(shelf, options, user_id), options, shelf)
        return RankedList(self.index.model_id, "popular", items)

    def explain(self, user_id: str, course_ids: Sequence[str]) -> list[list[Reason]]:
        """Why each of these courses has its score for the user; nothing for somebody without a vector."""
        return self._explain(self.users.parts(user_id), course_ids)

    def explain_to(self, taken: Collection[str], profile: Profile, course_ids: Sequence[str]) -> list[list[Reason]]:
        """The same for somebody of whom this is known; what interests add belongs to the user's own part."""
        explained = self._explain(self._parts_of(taken, profile), course_ids)
        return [only_of(taken, reasons) if reasons else [] for reasons in explained]

    # ---

    def _parts_of(self, course_ids: Collection[str], profile: Profile) -> VectorParts | None:
        """Vector of somebody of whom this is known; features count where there is nothing else."""
        contents = self.index.contents
        edges = known_edges(self.shelf.view, course_ids, profile.interests)
        if len(edges.rows) and contents.item_messages is not None:
            return new_parts(contents, edges)
        return feature_parts(contents, profile.features)

    def _explain(self, parts: VectorParts | None, course_ids: Sequence[str]) -> list[list[Reason]]:
        shelf = self.shelf
        if parts is None:
            return [[] for _ in course_ids]
        rows = [shelf.view.row(course_id) for course_id in course_ids]
        beyond = len(shelf.view.ids)  # has no vector
        vectors = shelf.course_vectors([beyond if row is None else row for row in rows])
        return explain(parts, vectors, self.index.items.ids)

    def _recommend_block(self, user_ids: Sequence[str], options: Options) -> list[RankedList]:
        shelf = self.shelf
        users = [self.users.get(user_id) for user_id in user_ids]
        vectors = [user.vector for user in users if user is not None]
        scores = iter(shelf.scores(np.stack(vectors)) if vectors else ())  # (B, R'), row by row
        answers = []
        for user_id, user in zip(user_ids, users, strict=True):
            if user is None:
                answers.append(self.popular(options, user_id))
            else:
                items = ranked(next(scores), self._allowed(shelf, options, user_id), options, shelf)
                answers.append(RankedList(self.index.model_id, user.source, items))
        return answers

    def _popular_scores(self, shelf: Shelf) -> NDArray[np.float64]:
        return np.concatenate([self._popularity, np.zeros(len(shelf.view.ids) - len(self._popularity))])

    def _allowed(self, shelf: Shelf, options: Options, user_id: str | None) -> NDArray[np.bool_]:
        allowed = allowed_rows(shelf.view, options, self._completed(options, user_id))
        if user_id is not None and options.exclude_seen:
            taken = self.overlay.taken(user_id)
            return without(allowed, taken.rows, shelf.view.rows(taken.others))
        return allowed

    def _completed(self, options: Options, user_id: str | None) -> Collection[str]:
        if user_id is None or not options.prerequisites_met:
            return ()
        complete = 1 << self.overlay.bit(COMPLETE)
        return [id_ for id_, types in self.overlay.types_by_course(user_id).items() if types & complete]

    def _from_top_list(self, user_id: str, user: UserVector, options: Options) -> list[Ranked] | None:
        """The asked part from the user's kept list; None when too little of that fits the options."""
        shelf, top = self.shelf, self._top_list(user_id, user)
        view = shelf.view
        allowed = allowed_rows(view, options, self._completed(options, user_id))
        fits = allowed[top.rows]
        rows, scores = top.rows[fits].astype(np.intp), top.scores[fits]
        until = options.offset + options.n
        if len(rows) < until and not top.whole:
            return None
        if shelf.has_new:
            new = np.flatnonzero(allowed[view.n_indexed :])
            new = new[~np.isin(new + view.n_indexed, view.rows(self.overlay.taken(user_id).others))]
            rows = np.concatenate([rows, new + view.n_indexed])
            scores = np.concatenate([scores, shelf.new_scores(user.vector)[new]])
            order = np.argsort(-scores, kind="stable")
            rows, scores = rows[order], scores[order]
        return listed(view, rows[options.offset : until], scores[options.offset : until], options)

    def _top_list(self, user_id: str, user: UserVector) -> TopList:
        changed = self.overlay.taken(user_id) if self.overlay.touched(user_id) else None
        row = self.index.user_row(user_id)
        top = self._lists.published(row) if changed is None and row is not None else None
        top = top or self._lists.kept(user_id, changed)
        if top is None:
            scores = self.index.item_vectors @ user.vector
            top = self._lists.make(user_id, changed, scores, self.overlay.taken(user_id).rows)
        return top


def _best_are_enough(options: Options) -> bool:
    """Whether the list depends on the best courses that the user has not taken, and on no others."""
    return options.exclude_seen and options.percent_over == "recommended" and not options.diversity
