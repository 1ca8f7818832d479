"""Adam over a table of which some rows are whole and some a rank's own."""

import torch
from torch import Tensor
from torch.optim.adam import adam


class Adam:
    """Kingma and Ba 2015, in place and with the bits of ``torch.optim.Adam``.

    That class itself brings in torch's compiler: more than a second in which a short run could be done.
    table: what is learned.  cut: the rows before it are moved apart from the others, so that where they end does not
    show in how those are rounded.
    """

    def __init__(self, table: Tensor, cut: int) -> None:
        self._table, self._cut = table, cut
        self.moments = {"exp_avg": torch.zeros_like(table), "exp_avg_sq": torch.zeros_like(table)}
        self._steps = [torch.zeros((), device=table.device) for _ in range(2)]

    @torch.no_grad()
    def step(self, gradient: Tensor, learning_rate: float) -> None:
        """Move the table by a gradient of its shape."""
        adam(
            self._sides(self._table),
            self._sides(gradient),
            self._sides(self.moments["exp_avg"]),
            self._sides(self.moments["exp_avg_sq"]),
            [],
            self._steps,
            fused=True,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=learning_rate,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )

    def restore(self, moments: dict[str, Tensor], steps: int) -> None:
        """Go on from there."""
        for name, moment in self.moments.items():
            moment.copy_(moments[name])
        for step in self._steps:
            step.fill_(steps)

    def _sides(self, table: Tensor) -> list[Tensor]:
        return [table[: self._cut], table[self._cut :]]
