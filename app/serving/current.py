"""What is served now: the catalogue and a model, swapped as a whole."""

from collections.abc import Iterable
from weakref import WeakSet

from app.domain.changes import Change, ChangeBatch, CourseChanged, InteractionChanged, UserChanged
from app.serving.catalogue import Catalogue
from app.serving.live import LiveModel


class CurrentIndex:
    """The model that is served, and the catalogue, which outlives models.

    ``model`` is read once by a request, which finishes on what it read, and that is kept up until then.  To change it,
    make a LiveModel aside, let it take in the changes since its index's cluster time until its overlay has come to
    ``position``, and ``swap``.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.model: LiveModel | None = None
        self._former: WeakSet[LiveModel] = WeakSet()  # on which long answers may still be going on
        self._local: list[InteractionChanged | UserChanged] = []  # this process's own, not told by the stream yet

    @property
    def position(self) -> int:
        """Cluster time up to which the change stream has been told."""
        return self.catalogue.position

    def apply(self, batch: ChangeBatch) -> None:
        """Take in what the change stream tells."""
        for change in batch:
            if isinstance(change, CourseChanged):
                self.catalogue.apply(change)
        self.catalogue.advance(batch.position)
        for model in self._models():
            model.apply(batch)
        if self._local:
            self._local = [change for change in self._local if change.cluster_time > self.position]

    def apply_local(self, changes: Iterable[Change]) -> None:
        """Take in writes of this process ahead of the stream; each carries the cluster time that its write gave."""
        for change in changes:
            if isinstance(change, CourseChanged):
                self.catalogue.apply_local(change)
            elif isinstance(change, InteractionChanged) or (isinstance(change, UserChanged) and change.removed):
                self._local.append(change)
                for model in self._models():
                    model.overlay.apply_local(change)

    def swap(self, model: LiveModel) -> None:
        """Serve this model from now on.  Raises ValueError if its overlay has not come to ``position`` yet."""
        if model.overlay.position < self.position:
            raise ValueError(f"the overlay has come to {model.overlay.position}; wanted at least {self.position}")
        for change in self._local:
            model.overlay.apply_local(change)
        if self.model is not None:
            self._former.add(self.model)
        self.model = model

    def _models(self) -> list[LiveModel]:
        """The one that is served, and those that somebody has still in hand."""
        return [*self._former] if self.model is None else [self.model, *self._former]
