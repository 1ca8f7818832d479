"""Losses over final vectors, with their gradients written out; equal to autograd's, without its copies."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus


class Pairs(NamedTuple):
    """B pairs of a user and an item taken, with an unseen item each: node rows (B,); weights (B,), 1 on average."""

    users: Tensor
    positives: Tensor
    negatives: Tensor
    weights: Tensor


class Groups(NamedTuple):
    """G groups of S pairs; the pairs of a group share M other items.

    users, positives: (G * S,) node rows.  pools: (G, M) node rows.  pairs, slots: (H,), pairs[h] has no negative in
    slots[h] of its group's pool.  weights: (G * S,), 1 on average, 0 for a pair that only fills its group up.
    """

    users: Tensor
    positives: Tensor
    pools: Tensor
    pairs: Tensor
    slots: Tensor
    weights: Tensor


def bpr_loss(
    vectors: Tensor, batch: Pairs, n_pairs: int | None = None, *, out: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Bayesian personalised ranking (Rendle et al. 2009): mean loss and its gradient, (N, D) as the vectors.

    n_pairs: by which the sum is divided, where these are a part of the pairs.  out: (N, D), where the gradient is
    written and in whose dtype all is computed, if the vectors have less.
    """
    gradient = torch.zeros_like(vectors) if out is None else out.zero_()
    users, positives, negatives, weights = batch
    n_pairs = n_pairs or len(users)
    e_u, e_i, e_j = (vectors[rows].to(gradient.dtype) for rows in (users, positives, negatives))  # (B, D)
    # loss = mean softplus(s_uj - s_ui), which is -log sigmoid(s_ui - s_uj) without losing the hardest pairs
    margin = (e_u * (e_j - e_i)).sum(1)  # (B,)
    # d loss / d margin = sigmoid(margin) / B
    slope = (weights * torch.sigmoid(margin) / n_pairs).unsqueeze(1)  # (B, 1)
    gradient.index_add_(0, users, slope * (e_j - e_i))
    gradient.index_add_(0, positives, -slope * e_u)
    gradient.index_add_(0, negatives, slope * e_u)
    return (weights * softplus(margin)).sum() / n_pairs, gradient


def pool_softmax_loss(
    vectors: Tensor, batch: Groups, n_pairs: int | None = None, *, out: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Softmax of the positive among its pool: mean loss and its gradient, (N, D) as the vectors.

    n_pairs, out: see ``bpr_loss``.
    """
    gradient = torch.zeros_like(vectors) if out is None else out.zero_()
    users, positives, pools, pairs, slots, weights = batch
    n_groups, n_pool = pools.shape
    size, group = vectors.shape[1], len(users) // max(n_groups, 1)
    # (GS, D), (GS, D), (G, M, D)
    e_u, e_i, e_n = (vectors[rows].to(gradient.dtype) for rows in (users, positives, pools))
    own = (e_u * e_i).sum(1, keepdim=True)  # (GS, 1)
    others = torch.bmm(e_u.view(n_groups, group, size), e_n.transpose(1, 2)).view(len(users), n_pool)  # (GS, M)
    others[pairs, slots] = -torch.inf
    # loss = log(exp s_ui + sum_m exp s_um) - s_ui
    highest = torch.maximum(others.amax(1, keepdim=True), own)
    others.sub_(highest).exp_()
    total = others.sum(1, keepdim=True) + (own - highest).exp()  # (GS, 1)
    loss = (total.log() + highest - own).squeeze(1)  # (GS,)
    scale = (weights / (n_pairs or (weights > 0).sum())).unsqueeze(1)  # (GS, 1)
    # d loss / d s_um = p_m, d loss / d s_ui = p_i - 1 = -sum_m p_m
    others.mul_(scale / total)
    rest = -others.sum(1, keepdim=True)  # (GS, 1)
    slopes = others.view(n_groups, group, n_pool)
    gradient.index_add_(0, users, torch.bmm(slopes, e_n).view(len(users), size).add_(rest * e_i))
    gradient.index_add_(0, positives, rest * e_u)
    negative = torch.bmm(slopes.transpose(1, 2), e_u.view(n_groups, group, size))  # (G, M, D)
    gradient.index_add_(0, pools.view(-1), negative.view(n_groups * n_pool, size))
    return (loss * scale.squeeze(1)).sum(), gradient


def add_l2(gradient: Tensor, layer0: Tensor, counts: Tensor, weight: float, batch: int) -> None:
    """Add the gradient of ``weight / (2 batch) * sum_n counts_n |E0_n|^2``, in place.  counts: (N,) as the vectors."""
    gradient.addcmul_(counts.unsqueeze(1), layer0, value=weight / batch)
