"""From scores to the asked part of a ranked list."""

from collections.abc import Collection, Mapping, Sequence
from itertools import count

import numpy as np
from numpy.typing import NDArray

from app.domain.ranking import softmax_percent, softmax_percent_of_few, top_n
from app.serving.catalogue import Catalogue, CatalogueView
from app.serving.diversity import POOL, diversify
from app.serving.filters import allowed_rows, without
from app.serving.options import Options, Ranked, RankedList
from app.serving.shelf import Shelf

COMPLETE = "complete"  # the interaction type that meets prerequisites


def ranked(scores: NDArray[np.floating], allowed: NDArray[np.bool_], options: Options, shelf: Shelf) -> list[Ranked]:
    """Best allowed courses.  scores: (R',) of the first rows; those after them are not listed.  allowed: (R,)."""
    allowed = allowed[: len(scores)]
    until = options.offset + options.n
    rows = top_n(scores, allowed, max(until, POOL) if options.diversity else until)
    over = scores[allowed] if options.percent_over == "candidates" else None
    return _asked_part(rows, scores[rows], options, shelf, over)


def ranked_among(rows: NDArray[np.intp], scores: NDArray[np.floating], options: Options, shelf: Shelf) -> list[Ranked]:
    """The same of some courses only.  rows: (C,) ascending.  scores: (C,)."""
    until = options.offset + options.n
    places = top_n(scores, np.ones(len(scores), np.bool_), max(until, POOL) if options.diversity else until)
    over = scores if options.percent_over == "candidates" else None
    return _asked_part(rows[places], scores[places], options, shelf, over)


def _asked_part(
    rows: NDArray[np.intp],
    scores: NDArray[np.floating],
    options: Options,
    shelf: Shelf,
    over: NDArray[np.floating] | None,
) -> list[Ranked]:
    """Of the best courses, best first."""
    part = slice(options.offset, options.offset + options.n)
    if options.diversity:
        order = diversify(scores[:POOL], shelf.course_vectors(rows[:POOL]), options.diversity, part.stop)
        rows, scores = np.concatenate([rows[order], rows[POOL:]]), np.concatenate([scores[order], scores[POOL:]])
    return listed(shelf.view, rows[part], scores[part], options, over)


def listed(
    view: CatalogueView,
    rows: NDArray[np.intp],
    scores: NDArray[np.floating],
    options: Options,
    over: NDArray[np.floating] | None = None,
) -> list[Ranked]:
    """The courses in these rows in this order; percentages over ``over``, which holds the scores too, or over these."""
    if over is None:  # so that a list has the same percentages to the last bit however it was found
        return listed_few(view, rows.tolist(), scores.tolist(), options)
    percents = softmax_percent(scores, options.temperature, over)
    ids, first = view.ids, options.offset + 1
    columns = zip(rows.tolist(), scores.tolist(), percents.tolist(), strict=True)
    return [Ranked(ids[row], score, percent, rank) for rank, (row, score, percent) in enumerate(columns, first)]


def listed_few(view: CatalogueView, rows: Sequence[int], scores: Sequence[float], options: Options) -> list[Ranked]:
    """The same for a short list; percentages over the list alone."""
    percents = softmax_percent_of_few(scores, options.temperature)
    ids = map(view.ids.__getitem__, rows)
    return [*map(Ranked._make, zip(ids, scores, percents, count(options.offset + 1), strict=False))]


def rank_popular(
    catalogue: Catalogue,
    counts: Mapping[str, float],
    seen: Collection[str],
    options: Options,
    completed: Collection[str] = (),
) -> RankedList:
    """Most taken courses before there is a model; nothing has a vector yet, so ``diversity`` changes nothing.

    counts: users who took each course.  seen, completed: courses that this user has taken, and completed.
    """
    view = catalogue.alone()
    scores = np.log1p(np.fromiter((counts.get(id_, 0) for id_ in view.ids), np.float64, len(view.ids)))
    allowed = allowed_rows(view, options, completed)
    if options.exclude_seen:
        allowed = without(allowed, view.rows(seen))
    rows = top_n(scores, allowed, options.offset + options.n)[options.offset :]
    over = scores[allowed] if options.percent_over == "candidates" else None
    return RankedList(None, "popular", listed(view, rows, scores[rows], options, over))


def rank_latest(catalogue: Catalogue, seen: Collection[str], options: Options) -> RankedList:
    """Courses by when they came out, newest first, those of which that is not known last.

    A score is seconds since 1970.  seen: courses that this user has taken.
    """
    view = catalogue.alone()
    allowed, times = without(allowed_rows(view, options), view.rows(seen)), view.published
    rows = top_n(times, allowed, options.offset + options.n)[options.offset :]
    return RankedList(None, "popular", listed(view, rows, times[rows], options))
