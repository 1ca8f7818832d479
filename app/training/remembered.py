"""What of a chosen recipe is worth remembering, so that later data of about the same size need no search."""

from collections.abc import Mapping
from typing import Any

from app.training.blend import FilterKind
from app.training.config import NO_FILTER, Recipe

OF_DATA_OR_SETTINGS = ("seed", "device", "combination", "loss", "epochs", "batch_size")  # known anew in every run


def to_remember(recipe: Recipe) -> dict[str, Any]:
    """Fields that ``TrainingConfig.recipe`` takes to make this recipe again, and the filter.  Ready for JSON.

    The inverse of the scale that ``recipe`` applies under ``sum``.
    """
    fields = {name: value for name, value in recipe.as_dict().items() if name not in OF_DATA_OR_SETTINGS}
    scale = recipe.n_layers + 1.0 if recipe.combination == "sum" else 1.0
    return fields | {
        "learning_rate": recipe.learning_rate * scale,
        "start_rms": recipe.start_rms * scale,
        "l2_weight": recipe.l2_weight / scale**2,
    }


def recipe_fields(remembered: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the vectors: the filter's weight is found anew, it costs no training."""
    return {name: value for name, value in remembered.items() if name not in NO_FILTER}


def remembered_filter(remembered: Mapping[str, Any]) -> FilterKind | None:
    """Which filter was chosen; None: nothing is known of it."""
    if "item_filter" not in remembered:
        return None
    return FilterKind(remembered["item_filter"], remembered.get("filter_l2", 0.0), remembered.get("filter_power", 0.0))
