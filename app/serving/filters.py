"""Which courses may be listed."""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from app.serving.catalogue import CatalogueView
from app.serving.options import Options


def allowed_rows(view: CatalogueView, options: Options, completed: Collection[str] = ()) -> NDArray[np.bool_]:
    """(R,) bool, a fresh array: there, available, and fitting all filters; what was taken is not looked at.

    completed: course ids that count as met prerequisites.
    """
    allowed = view.eligible.copy()
    if options.categories:
        allowed &= view.labelled("categories", options.categories)
    if options.tags:
        allowed &= view.labelled("tags", options.tags)
    if options.levels:
        allowed &= view.labelled("level", options.levels)
    if options.languages:
        allowed &= view.labelled("language", options.languages)
    if options.include_only is not None:
        wanted = np.zeros(len(allowed), np.bool_)
        wanted[view.rows(options.include_only)] = True
        allowed &= wanted
    if options.exclude:
        allowed[view.rows(options.exclude)] = False
    if options.prerequisites_met:
        allowed[view.unmet(completed)] = False
    return allowed
