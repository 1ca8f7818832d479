"""Hyper-parameters of a run: what a person may set, and what follows from that and the data."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

Combination = Literal["sum", "mean"]
Loss = Literal["bpr", "hard_bpr", "softmax"]
Filter = Literal["none", "ease", "gf_cf"]
FilterWish = Literal["none", "ease", "gf_cf", "auto"]
Start = Literal["spectral", "xavier"]
Parameters = Literal["all", "items"]

DEFAULT_LAYERS = 3
BPR_BATCH = 2048  # the papers'
MOST_STEPS = 50  # in an epoch: a step costs the whole graph, whatever its batch
SMALL = 100_000  # edges, below which softmax takes smaller batches and more L2
MASKED_SHARE, LEAST_BATCH = 4, 256  # one edge in so many is left out of a step at most, or it would have no graph left
GOING_ON = 0.5  # of epochs, learning rate and warm-up, when vectors learn on
STEPS = 200  # in a run, but for `bpr`
MANY_ITEMS = 10_000  # from here on vectors are longer, since there is more to tell apart
MANY_EDGES = 5_000_000  # from here on they are not: time and memory would go beyond what two cores have
NEGATIVES_SHARE = 64  # of the catalogue, one in so many, is the hardest negative sought among: of more, it is often an
MOST_HARD = 64  # item that the user would like, and the vectors collapse


# The fields of a recipe that are the filter's, as they are without one.
NO_FILTER: dict[str, Any] = {"item_filter": "none", "filter_l2": 0.0, "filter_power": 0.0, "filter_weight": 0.0}


@dataclass(frozen=True, slots=True)
class Recipe:
    """Every value that a fit needs.

    epochs: passes over the edges, and the horizon of the learning rate's decay.  l2_weight: of squared layer-0 vectors
    against the mean loss.  n_negatives: size of the pool, for softmax.  warm_up: steps in which the learning rate
    rises.  decay: whether it then falls linearly to 0.  mask: whether a batch's own edges are left out of its
    propagation.  start, start_rms: layer 0 of nodes without content, and its size where it is spectral.
    parameters: whether users have a layer 0 of their own; else it is 0, and they are what their items make them.
    half: propagate in bfloat16 while training on a CPU.
    item_filter, filter_l2, filter_power, filter_weight: closed-form filter beside the vectors, the regularisation and
    the power of EASE, and how much the filter counts against the vectors, both at a standard deviation of 1.
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
    parameters: Parameters = "all"
    half: bool = False
    item_filter: Filter = "none"
    filter_l2: float = 0.0
    filter_power: float = 0.0
    filter_weight: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)

    def going_on(self, epochs: int) -> "Recipe":
        """To learn more from vectors that have learned so many epochs; where the learning rate decays."""
        return replace(
            self,
            epochs=max(1, round(GOING_ON * epochs)),
            learning_rate=GOING_ON * self.learning_rate,
            warm_up=round(GOING_ON * self.warm_up),
        )


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """How to train; the names are those of the settings.  Raises ValueError on a value that cannot be.

    None lets loss and data decide.  epochs: the most passes over the interactions.  batch_size: interactions a step.
    filter: the closed-form item filter beside the vectors; auto: what validation chooses.  time_budget_seconds: what
    is spent at most on trying several recipes; 0: the usual one is taken.  ease_items: size of a catalogue above which
    EASE, whose cost grows with its cube, is left out.
    """

    embedding_size: int | None = None
    n_layers: int = DEFAULT_LAYERS
    combination: Combination = "sum"
    loss: Loss = "softmax"
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    l2_weight: float | None = None
    seed: int = 0
    device: str = "auto"
    filter: FilterWish = "auto"
    time_budget_seconds: float = 120.0
    ease_items: int = 6_000

    def __post_init__(self) -> None:
        least = {"embedding_size": 1, "n_layers": 0, "epochs": 1, "batch_size": 1, "l2_weight": 0, "seed": 0}
        least |= {"time_budget_seconds": 0, "ease_items": 0}
        for name, bound in least.items():
            value = getattr(self, name)
            if value is not None and not value >= bound:
                raise ValueError(f"{name} has value {value!r}; wanted at least {bound}")
        if self.learning_rate is not None and not self.learning_rate > 0:
            raise ValueError(f"learning_rate has value {self.learning_rate!r}; wanted more than 0")

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)

    def recipe(self, n_edges: int, n_items: int, **chosen: Any) -> Recipe:
        """All values for a graph of this size.  chosen: instead of the usual ones, where no value is set.

        bpr is the notebook's: constant learning rate, Xavier, nothing left out.  Values were chosen on validation parts
        of public data sets, under ``mean``; ``scale`` carries them over.
        """
        n_layers = chosen.get("n_layers", self.n_layers)
        # vectors come out (K + 1) times as long under sum; a smaller layer 0 makes both the same model
        scale = n_layers + 1.0 if self.combination == "sum" else 1.0
        usual = {"bpr": self._bpr, "hard_bpr": self._hard_bpr, "softmax": self._softmax}[self.loss](n_edges, n_items)
        values: dict[str, Any] = {"embedding_size": 64, "n_layers": n_layers, **usual, **chosen}
        values["learning_rate"] /= scale
        values["start_rms"] = values.get("start_rms", 0.0) / scale
        values["l2_weight"] *= scale**2
        left_open = ("embedding_size", "epochs", "batch_size", "learning_rate", "l2_weight")
        given = {name: value for name in left_open if (value := getattr(self, name)) is not None}
        fixed = {name: getattr(self, name) for name in ("combination", "loss", "seed", "device")}
        return Recipe(**values | given | fixed)

    @staticmethod
    def _bpr(n_edges: int, _n_items: int) -> dict[str, Any]:
        return {
            "epochs": 40,
            "batch_size": max(BPR_BATCH, -(-n_edges // MOST_STEPS)),
            "learning_rate": 0.02,
            "l2_weight": 0.003125,
        }

    def _softmax(self, n_edges: int, n_items: int) -> dict[str, Any]:
        usual = 4096 if n_edges < SMALL else 16_384
        batch_size = self.batch_size or min(usual, max(LEAST_BATCH, n_edges // MASKED_SHARE))
        return {
            "embedding_size": 128 if n_items > MANY_ITEMS and n_edges < MANY_EDGES else 64,
            "epochs": epochs_of(STEPS, n_edges, batch_size),
            "batch_size": batch_size,
            "learning_rate": 0.12,
            "l2_weight": 0.05 if n_edges < SMALL else 0.02,
            "n_negatives": 256,
            "warm_up": 10,
            "decay": True,
            "mask": True,
            "start": "spectral",
            "start_rms": 0.3,
            "half": True,
        }

    def _hard_bpr(self, n_edges: int, n_items: int) -> dict[str, Any]:
        hardest = {
            "learning_rate": 0.1,
            "l2_weight": 0.01,
            "n_negatives": min(MOST_HARD, 1 + n_items // NEGATIVES_SHARE),
        }
        return self._softmax(n_edges, n_items) | hardest


def epochs_of(steps: int, n_edges: int, batch_size: int) -> int:
    """Passes over the edges that have about so many steps, at least one."""
    return max(1, round(steps / -(-max(n_edges, 1) // batch_size)))
