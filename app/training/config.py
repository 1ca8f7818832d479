"""Hyper-parameters of a run."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Combination = Literal["sum", "mean"]
Loss = Literal["bpr"]

LEAST_BATCH = 2048  # the papers' batch
MOST_STEPS = 50  # an epoch, unless a batch size is given: a step costs the whole graph, whatever its batch


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """How to train; the names are those of the settings.  Raises ValueError on a value that cannot be.

    epochs: the most passes over the interactions.  batch_size: interactions a step; None means 2,048, or more where
    an epoch would have over 50 steps.  l2_weight: of the squared layer-0 vectors of a batch, against the mean loss.
    """

    embedding_size: int = 64
    n_layers: int = 3
    combination: Combination = "sum"
    loss: Loss = "bpr"
    epochs: int = 40
    batch_size: int | None = None
    learning_rate: float = 0.005
    l2_weight: float = 0.05
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        least = {"embedding_size": 1, "n_layers": 0, "epochs": 1, "l2_weight": 0, "seed": 0}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ValueError(f"{name} has value {getattr(self, name)!r}; wanted at least {bound}")
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError(f"batch_size has value {self.batch_size!r}; wanted at least 1")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate has value {self.learning_rate!r}; wanted more than 0")

    def batch_for(self, n_edges: int) -> int:
        """Interactions a step in a graph with so many edges."""
        return self.batch_size or max(LEAST_BATCH, -(-n_edges // MOST_STEPS))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)
