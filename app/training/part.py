"""What one rank has of the users after a fit."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.graph.bipartite import BipartiteGraph


@dataclass(slots=True)
class Part:
    """The users of one rank.  graph: their edges, with all items.  vectors: (u, D)."""

    graph: BipartiteGraph
    vectors: NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Owned:
    """A rank's part among those of all.  counts: users of each rank."""

    part: Part
    counts: tuple[int, ...]
