"""Users whom a replica does not hold: known for as long as they are asked for."""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping

from app.serving.overlay import Overlay, Reading
from app.serving.users import UserVectors

KEPT = 20_000  # users; what each is asked first is made of costs some 3 kB
KEPT_PAIRS = 1_000_000  # of a user and a course that all of them have, 100 MB


class Guests:
    """Those who were met last are kept, however often they are asked for: to meet one again costs a read.

    kept, kept_pairs: users, and courses that all of them have taken.
    """

    def __init__(self, overlay: Overlay, users: UserVectors, kept: int = KEPT, kept_pairs: int = KEPT_PAIRS) -> None:
        self._overlay, self._users = overlay, users
        self._kept, self._kept_pairs = kept, kept_pairs
        self._met: OrderedDict[str, int] = OrderedDict()  # and how many pairs each has
        self._n_pairs = 0
        self.absent = overlay.absent
        self.reading = overlay.reading

    def meet(
        self, reading: Reading, found: Mapping[str, Collection[tuple[str, str]]], wanted: Iterable[str] = ()
    ) -> None:
        """Know the users of a reading, and of others as many as there is room for, all those who are wanted too."""
        for user_id in self._overlay.meet(reading, found):
            self._met[user_id] = len(found.get(user_id, ()))
            self._n_pairs += self._met[user_id]
        stay, staying = {*wanted, *reading.user_ids}, OrderedDict[str, int]()
        while self._met and (len(self._met) + len(staying) > self._kept or self._n_pairs > self._kept_pairs):
            user_id, n_pairs = self._met.popitem(last=False)
            if user_id in stay:
                staying[user_id] = n_pairs
                continue
            self._n_pairs -= n_pairs
            self._overlay.part(user_id)
            self._users.part(user_id)
        self._met.update(staying)

    def __len__(self) -> int:
        return len(self._met)
