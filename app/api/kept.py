"""What was read of records, kept until they change."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Kept(Generic[Value]):
    """Values by id, those asked last kept as long as all of them have at most ``most`` of ``size``.

    read: values of those ids that there are.
    """

    def __init__(
        self,
        read: Callable[[Collection[str]], Awaitable[Mapping[str, Value]]],
        most: int,
        size: Callable[[Value], int] = lambda _: 1,
    ) -> None:
        self._read, self._most, self._size_of = read, most, size
        self._values: OrderedDict[str, Value] = OrderedDict()
        self._size = 0
        self._asked: dict[str, object] = {}  # which is being read, and by whom: a change meanwhile ends that

    async def get_many(self, ids: Collection[str]) -> dict[str, Value]:
        """Those that there are.  Raises what ``read`` raises."""
        found = self.present(ids)
        missing = [id_ for id_ in dict.fromkeys(ids) if id_ not in found]
        return {**found, **await self._fetch(missing)} if missing else found

    def present(self, ids: Collection[str]) -> dict[str, Value]:
        """Those that are kept."""
        found = {id_: self._values[id_] for id_ in ids if id_ in self._values}
        for id_ in found:
            self._values.move_to_end(id_)
        return found

    async def _fetch(self, ids: Collection[str]) -> Mapping[str, Value]:
        reading = object()
        self._asked.update(dict.fromkeys(ids, reading))
        read: Mapping[str, Value] = {}
        try:
            read = await self._read(ids)
        finally:
            for id_ in ids:
                if self._asked.get(id_) is reading:
                    del self._asked[id_]
                    if id_ in read:
                        self._keep(id_, read[id_])
        return read

    def _keep(self, id_: str, value: Value) -> None:
        self._drop(id_)
        self._values[id_] = value
        self._size += self._size_of(value)
        while self._size > self._most:
            self._size -= self._size_of(self._values.popitem(last=False)[1])

    def _drop(self, id_: str) -> None:
        if id_ in self._values:
            self._size -= self._size_of(self._values.pop(id_))

    def forget(self, id_: str) -> None:
        """It has changed."""
        self._drop(id_)
        self._asked.pop(id_, None)

    def clear(self) -> None:
        """Forget all, as changes may have been missed."""
        self._values.clear()
        self._size = 0
        self._asked.clear()
