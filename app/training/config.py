"""Hyper-parameters of a run."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Combination = Literal["sum", "mean"]
Loss = Literal["bpr"]


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """How to train; the names are those of the settings.  Raises ValueError on a value that cannot be.

    epochs: the most passes over the interactions.  batch_size: interactions a step.
    """

    embedding_size: int = 64
    n_layers: int = 3
    combination: Combination = "sum"
    loss: Loss = "bpr"
    epochs: int = 100
    batch_size: int = 2048
    learning_rate: float = 0.01
    l2_weight: float = 1e-4
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        least = {"embedding_size": 1, "n_layers": 0, "epochs": 1, "batch_size": 1, "l2_weight": 0, "seed": 0}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ValueError(f"{name} has value {getattr(self, name)!r}; wanted at least {bound}")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate has value {self.learning_rate!r}; wanted more than 0")

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)
