"""Which courses may be listed."""

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from app.serving.catalogue import CatalogueView
from app.serving.options import Options


def allowed_rows(view: CatalogueView, options: Options, completed: Collection[str] = ()) -> NDArray[np.bool_]:
    """(R,) bool: there, available, and fitting all filters; what was taken is not looked at.  Copy before writing.

    completed: course ids that count as met prerequisites.
    """
    allowed = view.fitting(options.labels) if options.labels else view.eligible
    if options.include_only is None and not options.exclude and not options.prerequisites_met:
        return allowed
    allowed = allowed.copy()
    if options.include_only is not None:
        wanted = np.zeros(len(allowed), np.bool_)
        wanted[view.rows(options.include_only)] = True
        allowed &= wanted
    if options.exclude:
        allowed[view.rows(options.exclude)] = False
    if options.prerequisites_met:
        allowed[view.unmet(completed)] = False
    return allowed


def without(allowed: NDArray[np.bool_], *rows: Sequence[int] | NDArray[np.integer]) -> NDArray[np.bool_]:
    """A copy in which these rows are not allowed either."""
    allowed = allowed.copy()
    for some in rows:
        allowed[some] = False
    return allowed
