"""A model together with what happened since: what a request is answered from."""

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from app.domain.changes import ChangeBatch, InteractionChanged, UserChanged
from app.serving.catalogue import Catalogue, CatalogueView
from app.serving.index import ServingIndex
from app.serving.options import Options, Ranked, RankedList, Source
from app.serving.overlay import Overlay, Taken
from app.serving.ranking import softmax_percent, top_n

NOTHING = Taken(np.empty(0, np.int32))


class LiveModel:
    """One model, its overlay, and the catalogue as it is."""

    def __init__(self, index: ServingIndex, catalogue: Catalogue, overlay: Overlay | None = None) -> None:
        self.index = index
        self.overlay = overlay or Overlay(index)
        self._catalogue = catalogue
        self._view = CatalogueView(catalogue, index)
        self._popularity = np.log1p(index.contents.popularity.astype(np.float64))

    def apply(self, batch: ChangeBatch) -> None:
        """Take in what the change stream tells of users."""
        for change in batch:
            if isinstance(change, InteractionChanged | UserChanged):
                self.overlay.apply(change)
        self.overlay.advance(batch.position)

    def recommend(self, user_id: str, options: Options) -> RankedList:
        """Courses for a user, by the model's vectors or, for somebody it has no vector of, by popularity."""
        vector = None if self.overlay.forgotten(user_id) else self.index.user_vector(user_id)
        if vector is None:
            return self.popular(options, user_id)
        scores = self.index.item_vectors @ vector  # (I,)
        return self._rank(scores, options, self.overlay.taken(user_id), "model")

    def popular(self, options: Options, user_id: str | None = None) -> RankedList:
        """Most taken courses, those that the model does not know last; without what the user has taken, if given.

        The score is log(1 + users who took it), so the softmax is the share of takers, one added to each.
        """
        n_new = len(self.view.ids) - self.view.n_indexed
        scores = np.concatenate([self._popularity, np.zeros(n_new)])
        return self._rank(scores, options, NOTHING if user_id is None else self.overlay.taken(user_id), "popular")

    @property
    def view(self) -> CatalogueView:
        """The catalogue as it is now."""
        if self._view.version != self._catalogue.version:
            self._view = CatalogueView(self._catalogue, self.index)
        return self._view

    def _rank(self, scores: NDArray[np.floating], options: Options, taken: Taken, source: Source) -> RankedList:
        view = self.view
        allowed = _allowed(view, options)
        if options.exclude_seen:
            allowed[taken.rows] = False
            allowed[view.rows(taken.others)] = False
        return _listed(view, scores, allowed[: len(scores)], options, source=source, model_id=self.index.model_id)


def rank_popular(
    catalogue: Catalogue, counts: Mapping[str, int], seen: Collection[str], options: Options
) -> RankedList:
    """Most taken courses before there is a model.  counts: users who took each course.  seen: taken by this user."""
    view = CatalogueView(catalogue, None)
    scores = np.log1p(np.fromiter((counts.get(id_, 0) for id_ in view.ids), np.float64, len(view.ids)))
    allowed = _allowed(view, options)
    if options.exclude_seen:
        allowed[view.rows(seen)] = False
    return _listed(view, scores, allowed, options, source="popular", model_id=None)


def _allowed(view: CatalogueView, options: Options) -> NDArray[np.bool_]:
    """(R,) bool, a fresh array: courses that fit the options, whoever asks."""
    allowed = view.eligible.copy()
    if options.categories:
        allowed &= view.in_categories(options.categories)
    if options.exclude:
        allowed[view.rows(options.exclude)] = False
    return allowed


def _listed(
    view: CatalogueView,
    scores: NDArray[np.floating],
    allowed: NDArray[np.bool_],
    options: Options,
    *,
    source: Source,
    model_id: str | None,
) -> RankedList:
    """The asked part of the ranking of the allowed rows, (R',) scores and mask."""
    rows = top_n(scores, allowed, options.offset + options.n)[options.offset :]
    chosen = scores[rows]
    over = scores[allowed] if options.percent_over == "candidates" else None
    percents = softmax_percent(chosen, options.temperature, over)
    ranked = zip(rows.tolist(), chosen.tolist(), percents.tolist(), strict=True)
    ids = view.ids
    return RankedList(
        model_id=model_id,
        source=source,
        items=[
            Ranked(ids[row], score, percent, rank)
            for rank, (row, score, percent) in enumerate(ranked, options.offset + 1)
        ],
        n_eligible=int(np.count_nonzero(allowed)),
    )
