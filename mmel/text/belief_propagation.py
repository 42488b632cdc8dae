"""Joint decisions over the mentions of a document, batched over documents: max-product and mean field.

Both take local scores psi [D, n, k] and pairwise scores phi [D, n, k, n, k], where phi[:, i, a, j, b] is the score of
mention i taking its candidate a while mention j takes its candidate b. phi is meant to be symmetric
(phi[i, a, j, b] = phi[j, b, i, a]); its blocks i = j are ignored.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmel.text.masking import mask_scores, masked_softmax


def max_product(
    psi: Tensor,
    phi: Tensor,
    candidate_mask: Tensor,
    *,
    rounds: int = 10,
    damping: float = 0.5,
    pad_potential: Tensor | None = None,
) -> Tensor:
    """Log max-marginals [D, n, k] by loopy belief propagation (Ganea and Hofmann 2017, Eq. 11-13).

    Each round sends m_ij(e_j) = max_e_i psi_i + phi + sum of the messages to i except j's, made a distribution over
    e_j by softmax and damped: log(damping * new + (1 - damping) * old). On a tree, undamped, and with as many rounds as
    its diameter, the normalised result is exact.

    psi [D, n, k]; phi [D, n, k, n, k]; candidate_mask [D, n, k] boolean: a mention without candidates takes no part.
    pad_potential [D, n, k]: pairwise score with one more mention whose single candidate is certain (the padding mention
    of Le and Titov 2018); it sends messages as any other does. Absent candidates get `MASKED_SCORE`.
    """
    candidates = candidate_mask.transpose(1, 2)
    local = mask_scores(psi, candidate_mask).transpose(1, 2)
    pairs = pair_mask(candidate_mask).unsqueeze(1)
    table = candidate_major(phi)
    pad = None if pad_potential is None else masked_softmax(pad_potential, candidate_mask, -1).transpose(1, 2)
    damped = torch.ones_like(local).unsqueeze(-1).expand(*local.shape, local.shape[-1])
    messages = torch.zeros_like(damped)
    belief = local
    for step in range(1, rounds + 1):
        cavity = belief.unsqueeze(2) - messages.transpose(-1, -2)
        votes = (table + cavity.transpose(1, 2).unsqueeze(1)).amax(3)
        new = masked_softmax(votes, candidates.unsqueeze(-1), 1)
        damped = damping * new + (1 - damping) * damped
        messages = damped.clamp_min(torch.finfo(damped.dtype).tiny).log() * pairs
        belief = local + messages.sum(-1)
        if pad is not None:
            left = (1 - damping) ** step
            belief = belief + ((1 - left) * pad + left).log()
    return mask_scores(torch.log_softmax(belief, 1).transpose(1, 2), candidate_mask)


def mean_field(
    psi: Tensor,
    phi: Tensor,
    candidate_mask: Tensor,
    *,
    rounds: int = 3,
    damping: float = 1.0,
    pad_potential: Tensor | None = None,
) -> Tensor:
    """Log marginals [D, n, k] by mean field: q_i = softmax(psi_i + sum_j sum_b q_j(b) phi_ij), `rounds` times.

    Cheaper than `max_product` (no messages) and with the same arguments. damping: share of the new q in each round.
    """
    documents, mentions, size = psi.shape
    local = psi if pad_potential is None else psi + pad_potential
    flat = phi.reshape(documents, mentions * size, mentions * size)
    own = phi.diagonal(dim1=1, dim2=3)
    q = masked_softmax(local, candidate_mask, -1)
    logits = local
    for _ in range(rounds):
        votes = (flat @ q.reshape(documents, -1, 1)).reshape(documents, mentions, size)
        logits = local + votes - torch.einsum("dabi,dib->dia", own, q)
        q = damping * masked_softmax(logits, candidate_mask, -1) + (1 - damping) * q
    return mask_scores(torch.log_softmax(mask_scores(logits, candidate_mask), -1), candidate_mask)


def pair_mask(candidate_mask: Tensor) -> Tensor:
    """[D, n, n] boolean: i and j are different mentions that both have candidates. candidate_mask [D, n, k]."""
    present = candidate_mask.any(-1)
    different = ~torch.eye(present.shape[1], dtype=torch.bool, device=present.device)
    return present.unsqueeze(2) & present.unsqueeze(1) & different


def candidate_major(phi: Tensor) -> Tensor:
    """[D, n, k, n, k] -> contiguous [D, k, n, k, n], the layout in which the maximum over candidates vectorises."""
    return phi.permute(0, 2, 1, 4, 3).contiguous()
