"""Hyper-parameters of a run: what a person may set, and what follows from that and the data."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Combination = Literal["sum", "mean"]
Loss = Literal["bpr", "softmax"]
Start = Literal["spectral", "xavier"]

BPR_BATCH = 2048  # the papers'
MOST_STEPS = 50  # in an epoch: a step costs the whole graph, whatever its batch
SMALL = 100_000  # edges, below which softmax takes smaller batches and more L2
SOFTMAX_STEPS = 200  # in a run


@dataclass(frozen=True, slots=True)
class Recipe:
    """Every value that a fit needs.

    epochs: passes over the edges, and the horizon of the learning rate's decay.  l2_weight: of squared layer-0 vectors
    against the mean loss.  n_negatives: size of the pool, for softmax.  warm_up: steps in which the learning rate
    rises.  decay: whether it then falls linearly to 0.  mask: whether a batch's own edges are left out of its
    propagation.  start, start_rms: layer 0 of nodes without content, and its size where it is spectral.
    """

    embedding_size: int
    n_layers: int
    combination: Combination
    loss: Loss
    epochs: int
    batch_size: int
    learning_rate: float
    l2_weight: float
    seed: int
    device: str
    n_negatives: int = 0
    warm_up: int = 0
    decay: bool = False
    mask: bool = False
    start: Start = "xavier"
    start_rms: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """How to train; the names are those of the settings.  Raises ValueError on a value that cannot be.

    None lets loss and data decide.  epochs: the most passes over the interactions.  batch_size: interactions a step.
    """

    embedding_size: int = 64
    n_layers: int = 3
    combination: Combination = "sum"
    loss: Loss = "softmax"
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    l2_weight: float | None = None
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        least = {"embedding_size": 1, "n_layers": 0, "epochs": 1, "batch_size": 1, "l2_weight": 0, "seed": 0}
        for name, bound in least.items():
            value = getattr(self, name)
            if value is not None and not value >= bound:
                raise ValueError(f"{name} has value {value!r}; wanted at least {bound}")
        if self.learning_rate is not None and not self.learning_rate > 0:
            raise ValueError(f"learning_rate has value {self.learning_rate!r}; wanted more than 0")

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)

    def recipe(self, n_edges: int) -> Recipe:
        """All values for a graph of this size.

        bpr is the notebook's: constant learning rate, Xavier, nothing left out.  Values were chosen on validation parts
        of public data sets, under ``mean``; ``scale`` carries them over.
        """
        # vectors come out (K + 1) times as long under sum; a smaller layer 0 makes both the same model
        scale = self.n_layers + 1.0 if self.combination == "sum" else 1.0
        values = self._bpr(n_edges, scale) if self.loss == "bpr" else self._softmax(n_edges, scale)
        given = {name: value for name, value in asdict(self).items() if value is not None}
        return Recipe(**{**values, **given})

    @staticmethod
    def _bpr(n_edges: int, scale: float) -> dict[str, Any]:
        return {
            "epochs": 40,
            "batch_size": max(BPR_BATCH, -(-n_edges // MOST_STEPS)),
            "learning_rate": 0.02 / scale,
            "l2_weight": 0.003125 * scale**2,
        }

    def _softmax(self, n_edges: int, scale: float) -> dict[str, Any]:
        batch_size = self.batch_size or (4096 if n_edges < SMALL else 16_384)
        return {
            "epochs": -(-SOFTMAX_STEPS // -(-max(n_edges, 1) // batch_size)),
            "batch_size": batch_size,
            "learning_rate": 0.12 / scale,
            "l2_weight": (0.05 if n_edges < SMALL else 0.02) * scale**2,
            "n_negatives": 256,
            "warm_up": 10,
            "decay": True,
            "mask": True,
            "start": "spectral",
            "start_rms": 0.3 / scale,
        }
