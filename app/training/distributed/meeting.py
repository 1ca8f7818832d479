"""Ranks that were started together find each other in a store that outlives them."""

import time
from uuid import uuid4

from torch._C._distributed_c10d import PrefixStore, Store  # torch.distributed has them too, without types

POLL_SECONDS = 0.02


def met(store: Store, rank: int, size: int, timeout_seconds: float) -> Store:
    """The same part of the store for all ranks that are here now, which holds nothing of earlier ones.

    Torchrun starts ranks anew over one store and, over several machines, not all of them know how often.  So each says
    a word that nobody said before; the first joins them to a name until everyone has found its word in it.
    Raises RuntimeError when that takes too long.
    """
    word, ends = uuid4().hex, time.monotonic() + timeout_seconds
    store = PrefixStore("coursegraph", store)
    store.set(f"word/{rank}", word)
    others = [*range(1, size)]
    while True:
        if rank == 0:
            words = [word, *(_read(store, f"word/{other}") for other in others)]
            name = " ".join(words)
            store.set("offered", name)
            if "" not in words and all(_read(store, f"agreed/{other}") == name for other in others):
                store.set("name", name)
                return PrefixStore(words[0], store)
        else:
            offered = _read(store, "offered")
            if word in offered:
                store.set(f"agreed/{rank}", offered)
            if word in (name := _read(store, "name")):
                return PrefixStore(name.partition(" ")[0], store)
        if time.monotonic() > ends:
            raise RuntimeError(f"not all {size} ranks came within {timeout_seconds:g} s")
        time.sleep(POLL_SECONDS)


def _read(store: Store, key: str) -> str:
    return store.get(key).decode() if store.check([key]) else ""
