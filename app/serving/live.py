"""A model together with what happened since: what a request is answered from."""

from collections.abc import Collection, Iterator, Sequence
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from app.domain.changes import ChangeBatch, InteractionChanged, UserChanged
from app.serving.catalogue import Catalogue, CatalogueView
from app.serving.content import NewCourses, Profile, feature_parts, known_edges
from app.serving.explain import Explanation, explain, only_of
from app.serving.filters import allowed_rows, without
from app.serving.fold_in import VectorParts, new_parts
from app.serving.guests import Guests
from app.serving.index import ServingIndex
from app.serving.lists import COMPLETE, listed_few, rank_popular, ranked, ranked_among
from app.serving.moved import moved_list
from app.serving.options import Options, Ranked, RankedList, Reason
from app.serving.overlay import Overlay, Taken
from app.serving.shelf import Shelf
from app.serving.top_lists import LENGTH, TopList, TopLists
from app.serving.users import UserVector, UserVectors

__all__ = ["LiveModel", "rank_popular"]

FEW = 4  # courses more than are asked for, or than twice as many with filters, in a list that is made anew
SPARE = 8  # of a kept list looked at in case that some are not available
Found = tuple[list[int], list[float]]  # rows and their scores, best first
FEW_OF = 4  # up to a fourth of the courses are scored one by one in less time than all
BLOCK_SCORES = 2**20  # scores computed at once for many users, 4 MiB


class LiveModel:
    """One model, its overlay, and the catalogue as it is.

    Courses that are newer than the model are scored too, if the model has a content map.
    Not for several threads: what is told and what is asked must take turns, as on an event loop.
    """

    def __init__(
        self,
        index: ServingIndex,
        catalogue: Catalogue,
        overlay: Overlay | None = None,
    ) -> None:
        self.index = index
        self.overlay = overlay or Overlay(index)
        self.users = UserVectors(index, self.overlay)
        self.guests = Guests(self.overlay, self.users)
        self._catalogue = catalogue
        self._new_courses = None if index.contents.content is None else NewCourses(index.contents.content)
        self._popularity = np.log1p(index.contents.popularity.astype(np.float64))
        self._lists = TopLists(index)
        self._shelf = Shelf(index, CatalogueView(catalogue, index), self._new_courses)

    @property
    def shelf(self) -> Shelf:
        """The courses as they are now."""
        if self._shelf.view.version != self._catalogue.version:
            self._shelf = Shelf(self.index, CatalogueView(self._catalogue, self.index), self._new_courses)
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
        return self.recommend_by(user, user_id, options)

    def recommend_by(self, user: UserVector, user_id: str, options: Options) -> RankedList:
        """Courses for a user by this vector, which is the user's."""
        found = self._from_published(user.row, options) if options.is_plain and user.row is not None else None
        if found is None and _best_are_enough(options):
            found = self._from_top_list(user_id, user, options)
        if found is None:
            return RankedList(self.index.model_id, user.source, self._scored(user_id, user, options))
        rows, scores = found
        return RankedList(self.index.model_id, user.source, listed_few(self.shelf.view, rows, scores, options), rows)

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
        taken_rows = self.index.items.rows(dict.fromkeys(course_ids))
        scores = self._filtered(shelf.scores(parts.vector), taken_rows)
        items = ranked(scores, allowed, options, shelf)
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
        explanation = self._explain(self.users.parts(user_id), self.shelf.view.places(course_ids))
        return [[] for _ in course_ids] if explanation is None else explanation.reasons()

    def explanation(self, user_id: str, ranked: RankedList) -> Explanation | None:
        """The same of a list that was made just now, as columns."""
        scores = [item.score for item in ranked.items]
        places: Sequence[int] | NDArray[np.int32] | None = ranked.rows
        if places is None:
            places = self.shelf.view.places([item.course_id for item in ranked.items])
        return self._explain(self.users.parts(user_id), places, scores)

    def explain_to(self, taken: Collection[str], profile: Profile, course_ids: Sequence[str]) -> list[list[Reason]]:
        """The same for somebody of whom this is known; what interests add belongs to the user's own part."""
        parts = self._parts_of(taken, profile)
        places = self.shelf.view.places(course_ids)
        explanation = self._explain(parts, places, taken=self.index.items.rows(dict.fromkeys(taken)))
        if explanation is None:
            return [[] for _ in course_ids]
        return [only_of(taken, reasons) for reasons in explanation.reasons()]

    # ---

    def _parts_of(self, course_ids: Collection[str], profile: Profile) -> VectorParts | None:
        """Vector of somebody of whom this is known; features count where there is nothing else."""
        contents = self.index.contents
        edges = known_edges(self.shelf.view, course_ids, profile.interests)
        if len(edges.rows) and contents.item_messages is not None:
            return new_parts(contents, edges)
        return feature_parts(contents, profile.features)

    def _explain(
        self,
        parts: VectorParts | None,
        places: Sequence[int] | NDArray[np.integer],
        scores: Sequence[float] | NDArray[np.float64] | None = None,
        taken: NDArray[np.int32] | None = None,
    ) -> Explanation | None:
        """places: of the courses on the shelf.  scores: of the courses, if they are known.

        taken: those of the parts' rows that an item filter starts from; None: all.
        """
        if parts is None:
            return None
        vectors, item_filter = self.shelf.course_vectors(places), self.index.item_filter
        filtered = None if item_filter is None else item_filter.contributions(parts.rows, places)
        if filtered is not None and taken is not None:
            filtered[~np.isin(parts.rows, taken)] = 0.0
        if scores is None:
            scores = parts.scores(vectors) + (0.0 if filtered is None else filtered.sum(axis=0))
        return explain(parts, vectors, self.index.items.ids, scores, filtered)

    def scores(self, user_id: str, user: UserVector) -> NDArray[np.float32]:
        """Scores of the shelf's courses for a user with a vector, (R',)."""
        scores = self.shelf.scores(user.vector)
        return scores if self.index.item_filter is None else self._filtered(scores, self.users.edge_rows(user_id))

    def _scored(self, user_id: str, user: UserVector, options: Options) -> list[Ranked]:
        """By scores made now: of all courses, or of those few that may be listed."""
        shelf = self.shelf
        allowed = self._allowed(shelf, options, user_id)
        if options.labels or options.include_only is not None:
            rows = np.flatnonzero(allowed[: shelf.n_scored])
            if FEW_OF * len(rows) < len(shelf.view.ids):
                scores = shelf.course_vectors(rows) @ user.vector
                if self.index.item_filter is not None:
                    known = rows.searchsorted(len(self.index.items))
                    scores[:known] += self.index.item_filter.scores(self.users.edge_rows(user_id))[rows[:known]]
                return ranked_among(rows, scores, options, shelf)
        return ranked(self.scores(user_id, user), allowed, options, shelf)

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
                own: NDArray[np.float32] = next(scores)
                if self.index.item_filter is not None:
                    own = self._filtered(own, self.users.edge_rows(user_id))
                items = ranked(own, self._allowed(shelf, options, user_id), options, shelf)
                answers.append(RankedList(self.index.model_id, user.source, items))
        return answers

    def _filtered(self, scores: NDArray[np.float32], rows: NDArray[np.integer]) -> NDArray[np.float32]:
        """Scores and what the model's item filter adds for the items in ``rows``, in place."""
        if self.index.item_filter is not None:
            scores[: len(self.index.items)] += self.index.item_filter.scores(rows)
        return scores

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

    def _from_published(self, row: int, options: Options) -> Found | None:
        """The list of nearly everybody without any options; None when one of its courses is not available any more."""
        shelf = self.shelf
        found = None if shelf.has_new else self._lists.first(row, options.n)
        if found is None:
            return None
        eligible = shelf.view.eligible_bytes
        for item in found[0]:
            if not eligible[item]:
                return None
        return found

    def _from_top_list(self, user_id: str, user: UserVector, options: Options) -> Found | None:
        """The asked part from the user's kept list; None when too little of that fits the options.

        A list of ten is found in plain Python: each step of numpy would take as long as all of it.
        """
        shelf, until = self.shelf, options.offset + options.n
        view = shelf.view
        allowed = allowed_rows(view, options, self._completed(options, user_id))
        top = self._top_list(user_id, user, until + FEW if allowed is view.eligible else 2 * until + FEW)
        found = _first_eligible(view, top, until) if allowed is view.eligible else None
        if found is None:
            places = allowed.take(top.rows).nonzero()[0][:until]
            found = self._found(user_id, user, top, places) if len(places) == until or top.whole else ([], [])
        rows, scores = found
        if len(rows) < until and not top.whole:
            return None
        if shelf.has_new:
            rows, scores = self._with_new(user_id, user.vector, allowed, found, until)
        if options.offset:
            rows, scores = rows[options.offset :], scores[options.offset :]
        return rows, scores

    def _found(self, user_id: str, user: UserVector, top: TopList, places: NDArray[np.intp]) -> Found:
        """What stands in these places of a list, ascending."""
        rows = top.rows[places]
        if not len(places) or places[-1] < len(top.scores):
            return rows.tolist(), top.scores[places].tolist()
        scores: NDArray[np.float32] = self.index.item_vectors.take(rows, axis=0).dot(user.vector)
        if self.index.item_filter is not None:
            scores += self.index.item_filter.scores_of(self.users.edge_rows(user_id), rows)
        order = (-scores).argsort(kind="stable")  # computed in another order of sums they may differ in the last bit
        return rows[order].tolist(), scores[order].tolist()

    def _with_new(
        self, user_id: str, vector: NDArray[np.float32], allowed: NDArray[np.bool_], found: Found, until: int
    ) -> Found:
        """The best with those that the model does not know; of equal scores they come last."""
        rows, scores = found
        view, new_scores = self.shelf.view, self.shelf.new_scores(vector)
        better = allowed[view.n_indexed :]
        if len(rows) >= until:
            better = better & (new_scores > scores[-1])
        new = np.flatnonzero(better)
        taken = set(view.rows(self.overlay.taken(user_id).others))
        added = [place for place in new.tolist() if place + view.n_indexed not in taken]
        if not added:
            return rows, scores
        pairs = [*zip(scores, rows, strict=True)]
        pairs += [
            (score, place + view.n_indexed) for place, score in zip(added, new_scores[added].tolist(), strict=True)
        ]
        pairs.sort(key=itemgetter(0), reverse=True)  # stable
        del pairs[until:]
        return [row for _, row in pairs], [score for score, _ in pairs]

    def _top_list(self, user_id: str, user: UserVector, least: int) -> TopList:
        """The user's list; one that is made now has so many courses, if there are and it can be told from another."""
        changed = self.overlay.taken(user_id) if self.overlay.touched(user_id) else None
        top = None if changed is not None or user.row is None else self._lists.published(user.row)
        top = top or self._lists.kept(user_id, changed)
        if top is not None and (changed is None or top.whole or len(top.rows) >= min(least, LENGTH)):
            return top
        top = None if changed is None else self._moved_list(user_id, user, changed, least)
        if top is None:
            scores = self.scores(user_id, user)[: len(self.index.items)]
            top = self._lists.best(scores, self.overlay.taken(user_id).rows)
        self._lists.keep(user_id, changed, top)
        return top

    def _moved_list(self, user_id: str, user: UserVector, changed: Taken, least: int) -> TopList | None:
        """Of a user of the model with other edges now, from the list that came with the model."""
        row = None if self.overlay.forgotten(user_id) else self.index.user_row(user_id)
        published = None if row is None else self._lists.published(row)
        if row is None or published is None:
            return None
        vectors = self.index.contents.user_vector(row), user.vector
        return moved_list(self.index, published, vectors, self.overlay.edge_change(user_id), changed.rows, least=least)


def _best_are_enough(options: Options) -> bool:
    """Whether the list depends on the best courses that the user has not taken, and on no others."""
    return options.exclude_seen and options.percent_over == "recommended" and not options.diversity


def _first_eligible(view: CatalogueView, top: TopList, n: int) -> Found | None:
    """Rows and scores of the first n, unless so many of the best are not available that more must be looked at."""
    if n + SPARE > len(top.scores) < len(top.rows):
        return None
    head = top.rows[: n + SPARE].tolist()
    eligible = view.eligible_bytes
    if 0 not in [eligible[row] for row in head[:n]]:  # nearly always
        return head[:n], top.scores[:n].tolist()
    places = [place for place, row in enumerate(head) if eligible[row]][:n]
    if len(places) < n:
        return None
    scores = top.scores[: len(head)].tolist()
    return [head[place] for place in places], [scores[place] for place in places]
