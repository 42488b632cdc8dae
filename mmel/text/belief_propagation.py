"""Joint decisions over the mentions of a document, batched over documents: max-product and mean field.

Both take local scores psi [D, n, k] and pairwise scores phi [D, n, k, n, k], where phi[:, i, a, j, b] is the score of
mention i taking its candidate a while mention j takes its candidate b. phi is meant to be symmetric
(phi[i, a, j, b] = phi[j, b, i, a]); its blocks i = j are ignored.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmel.text.masking import MASKED_SCORE, mask_scores, masked_softmax

# Undamped messages may vanish; their logarithm must not.
SMALLEST_MESSAGE = 1e-30


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
    local = mask_scores(psi, candidate_mask).transpose(1, 2)
    unary = local.expand(rounds + 1, *local.shape)
    if pad_potential is not None:
        # A mention with one candidate always sends the same distribution, so its damped message has a closed form.
        pad = masked_softmax(pad_potential, candidate_mask, -1).transpose(1, 2)
        left = ((1 - damping) ** torch.arange(rounds + 1, dtype=psi.dtype, device=psi.device)).view(-1, 1, 1, 1)
        unary = unary + ((1 - left) * pad + left).clamp_min(SMALLEST_MESSAGE).log()
    belief = _MaxProduct.apply(unary, pair_table(phi), candidate_mask, damping)
    return mask_scores(torch.log_softmax(belief.transpose(1, 2), -1), candidate_mask)


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
    q = masked_softmax(psi, candidate_mask, -1)
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


def pair_table(phi: Tensor) -> Tensor:
    """[D, n, k, n, k] -> contiguous [D, b, a, i, j] of phi[D, i, a, j, b]: sums and maxima over b run along memory."""
    return phi.permute(0, 4, 2, 1, 3).contiguous()


class _MaxProduct(torch.autograd.Function):
    """The rounds of max-product with a backward pass of its own.

    Autograd would keep every table-sized sum of every round; here only tensors of the size of the messages are kept,
    n * n * k numbers, and the sums are made again, in one buffer. Messages are [D, a, i, j]: to candidate a of mention
    i from mention j. `unary[t]` holds all that mention i knows without its neighbours in round t.

    Messages are divided by their average over the receiver's candidates, which changes no belief but keeps the sums of
    their logarithms over a hundred mentions near zero, where float32 is fine.
    """

    @staticmethod
    def forward(ctx: Any, unary: Tensor, table: Tensor, candidate_mask: Tensor, damping: float) -> Tensor:
        keep = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        pairs = pair_mask(candidate_mask).unsqueeze(1).to(table.dtype)
        absent = ~candidate_mask.transpose(1, 2).unsqueeze(-1)
        full = bool((candidate_mask == candidate_mask[..., :1]).all())
        shares, rests = _shares(len(unary) - 1, damping, candidate_mask.sum(-1), table.dtype)
        # Rounds begin with messages of zero, the logarithm of 1.
        messages = table.new_zeros(table.shape[0], *table.shape[2:])
        damped = torch.ones_like(messages)
        vanishing = (1 - damping) ** len(shares) < SMALLEST_MESSAGE
        sums = torch.empty_like(table)
        belief = unary[0]
        saved: list[Tensor] = []
        # What the backward pass needs is new in every round, all else is written over.
        cavity, votes, new = (None, None, None) if keep else (torch.empty_like(messages) for _ in range(3))
        for bias, share, rest in zip(unary[1:], shares, rests, strict=True):
            # What mention j believes of its candidate b without mention i: [D, b, i, j].
            apart = torch.empty_like(messages) if cavity is None else cavity
            torch.sub(belief.unsqueeze(2), messages.transpose(-1, -2), out=apart)
            best = torch.amax(torch.add(table, apart.unsqueeze(2), out=sums), 1, out=votes)
            sent = torch.softmax(best if full else best.masked_fill(absent, MASKED_SCORE), 1, out=new)
            damped = torch.mul(damped, rest, out=None if keep else damped).addcmul_(sent, share)
            if vanishing:
                damped.clamp_min_(SMALLEST_MESSAGE)
            if keep:
                saved += (apart, best, sent, damped)
            torch.log(damped, out=messages).mul_(pairs)
            belief = bias + messages.sum(-1)
        if keep:
            ctx.save_for_backward(table, pairs, shares, rests, *saved)
        return belief

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:  # type: ignore[override]
        table, pairs, shares, rests, *saved = ctx.saved_tensors
        grad_table, sums = torch.zeros_like(table), torch.empty_like(table)
        grad_unary = [grad]
        grad_messages = grad.unsqueeze(-1).expand_as(saved[0])
        grad_damped, buffer = torch.zeros_like(saved[0]), torch.empty_like(saved[0])
        for step in range(len(shares) - 1, -1, -1):
            apart, best, sent, damped = saved[4 * step : 4 * step + 4]
            grad_damped.addcdiv_(grad_messages * pairs, damped)
            grad_votes = grad_damped * sent
            grad_votes = grad_votes.addcmul_(sent, grad_votes.sum(1, keepdim=True), value=-1).mul_(shares[step])
            grad_damped.mul_(rests[step])
            # 1 where a source candidate gave the maximum; candidates that tie share the gradient.
            chosen = torch.add(table, apart.unsqueeze(2), out=sums).eq_(best.unsqueeze(1))
            grad_votes.div_(chosen.sum(1))
            grad_table.add_(chosen.mul_(grad_votes.unsqueeze(1)))
            grad_apart = chosen.sum(2)
            grad_belief = grad_apart.sum(2)
            torch.sub(grad_belief.unsqueeze(-1), grad_apart.transpose(-1, -2), out=buffer)
            grad_messages = buffer
            grad_unary.append(grad_belief)
        return torch.stack(grad_unary[::-1]), grad_table, None, None


def _shares(rounds: int, damping: float, count: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Weights of the new distribution and of the old message in each round, [rounds, D, 1, n, 1] each.

    The damped message of round t is a distribution with weight 1 - (1 - damping)^t and the ones of the start with the
    rest; the weights keep its average over the receiver's `count` [D, n] candidates at 1.
    """
    size = count.clamp_min(1).to(dtype)[:, None, :, None]
    left = ((1 - damping) ** torch.arange(1, rounds + 1, dtype=size.dtype, device=size.device)).view(-1, 1, 1, 1, 1)
    shares = damping / ((1 - left) / size + left)
    return shares, 1 - shares / size
