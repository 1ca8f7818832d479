"""Losses over final vectors, with their gradients written out."""

import torch
from torch import Tensor
from torch.nn.functional import softplus


def bpr_loss(vectors: Tensor, users: Tensor, positives: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor]:
    """Bayesian personalised ranking and its gradient (Rendle et al. 2009).

    vectors: (N, D).  users, positives, negatives: (B,) node rows.  Returns the mean loss and its gradient (N, D).
    """
    e_u, e_i, e_j = vectors[users], vectors[positives], vectors[negatives]  # (B, D)
    # loss = mean softplus(s_uj - s_ui), which is -log sigmoid(s_ui - s_uj) without losing the hardest pairs
    margin = (e_u * (e_j - e_i)).sum(1)  # (B,)
    # d loss / d margin = sigmoid(margin) / B
    slope = (torch.sigmoid(margin) / len(users)).unsqueeze(1)  # (B, 1)
    gradient = torch.zeros_like(vectors)
    gradient.index_add_(0, users, slope * (e_j - e_i))
    gradient.index_add_(0, positives, -slope * e_u)
    gradient.index_add_(0, negatives, slope * e_u)
    return softplus(margin).mean(), gradient


def add_l2(gradient: Tensor, layer0: Tensor, rows: Tensor, weight: float, batch: int) -> None:
    """Add the gradient of ``weight / (2 batch) * sum |E0_row|^2`` over rows, repetitions counted, in place."""
    gradient.index_add_(0, rows, layer0[rows], alpha=weight / batch)
