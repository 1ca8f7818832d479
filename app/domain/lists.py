"""Ids of lists: they tell the model that made a list, so that none needs to be stored to know."""

from random import getrandbits

NO_MODEL = "000000"


def recommendation_prefix(model_id: str | None) -> str:
    """What the ids of all lists of a model begin with; None: those made before there was one."""
    return f"r-{NO_MODEL if model_id is None else model_id.partition('-')[2]}-"


def recommendation_id(model_id: str | None) -> str:
    """A new id, such as ``r-000012-7f2b5c0d9e1a4b3c``."""
    return f"{recommendation_prefix(model_id)}{getrandbits(64):016x}"
