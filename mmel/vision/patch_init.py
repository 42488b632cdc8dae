"""First weights of a patch transformer, computed from crops, so that training starts where linear methods end.

With the usual random weights every patch is treated much alike wherever it lies, so the mean over patches is a bag of
patches, which says little about whose face it is, and the few steps that a small collection allows hardly mend that.
Here a token has four parts: content (principal components of its patch), place (a code of its position), edges (how
strong the gradient is in each direction and corner of the patch, which the first feed-forward part computes) and the
rest. Each head of the later layers looks at the edges of one place and adds what it sees to every token, so that the
mean over patches is a linear map of the whole picture's oriented gradients (Dalal & Triggs 2005): their principal
components, or a ridge regression onto given targets.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from mmel.vision.patch_transformer import PatchTransformer, cut, normalise_pixels
from mmel.vision_settings import PatchConfig

_DIRECTIONS, _CORNERS = 8, 2
_FAR = -8.0  # least logarithm of a window: a code of places can tell only so much
_WIDTH = 0.35  # standard deviation of a head's window in patches, where there is a head for each
_RIDGE = 0.1  # of the mean variance, in regressions onto targets
_FLOOR = 0.03  # of the mean variance, where a direction is scaled to variance 1
_EDGES, _RESULT = 1.0, 0.5  # size of these parts beside content and place
_PRINCIPAL, _SHRINKAGE = 1000, 0.03  # directions that people are told apart in, share of the identity's covariance
_MIRRORED = 2  # a crop and its mirror image: a person with no more says nothing about variance within
_SAMPLE, _BATCH = 256, 64


class _Parts(NamedTuple):
    """Which numbers of a token hold what."""

    content: slice
    place: slice
    edges: slice

    @classmethod
    def of(cls, config: PatchConfig) -> _Parts:
        content = config.dim // 3
        place = content + min(config.grid**2, config.dim // 4)
        edges = place + min(_DIRECTIONS * _CORNERS**2, config.dim // 4)
        return cls(slice(0, content), slice(content, place), slice(place, edges))


class _Look(NamedTuple):
    """A head: logarithm of its window over patches [patches], and the directions of edges it reads [size, edges]."""

    window: Tensor
    values: Tensor


@torch.no_grad()
def initialise(
    model: PatchTransformer,
    crops: Tensor,
    generator: torch.Generator,
    targets: Tensor | None = None,
    labels: Tensor | None = None,
) -> None:
    """Set all weights from crops and their mirror images.

    Args:
        crops: bytes [n, side, side, c]; linear maps of hundreds of numbers are estimated, so some thousands.
        generator: of the weights that stay random, and of the sample that the first layer is set from.
        targets: [n, t], t <= dim, what the output should be near, of a mirrored crop as well.
        labels: [n] who is on each crop, -1 for nobody known; without targets, the output tells these people apart
            (linear discriminant analysis). With neither, the output is whitened.
    """
    crops = torch.cat([crops, crops.flip(2)])
    targets = None if targets is None else targets.repeat(2, 1)
    labels = None if labels is None else labels.repeat(2)
    parts = _Parts.of(model.config)
    sample = crops[torch.randperm(len(crops), generator=generator)[:_SAMPLE]]
    layers = [cast(nn.TransformerEncoderLayer, layer) for layer in model.layers]
    _embedding(model, sample, parts)
    for layer in layers:
        _silence(layer, generator)
    _edges(model, layers[0], model.embed(sample), parts)
    stream = layers[0](model.embed(sample))
    looks = _looks(model, stream[:, :, parts.edges])
    if looks:
        seen = torch.cat([_see(layers[0](model.embed(x))[:, :, parts.edges], looks) for x in crops.split(_BATCH)])
        written = _results(seen, parts, model.config.dim, targets, labels, generator)
        for layer, own, rows in zip(
            layers[1:], _deal(looks, len(layers) - 1), written.split(model.config.dim), strict=True
        ):
            _attend(layer, stream, own, rows, parts)
            stream = layer(stream)
    fit_output(model, crops, targets, labels)


@torch.no_grad()
def fit_output(
    model: PatchTransformer, crops: Tensor, targets: Tensor | None = None, labels: Tensor | None = None
) -> None:
    """Set the output map from the pooled vectors of crops, to do what `initialise` says of targets and labels."""
    pooled = torch.cat([model.pool(batch) for batch in crops.split(_BATCH)]).double()
    weight = _map(pooled, pooled.shape[1], targets, labels)
    bias = -weight @ pooled.mean(0)
    model.output.weight.zero_()
    model.output.bias.zero_()
    model.output.weight[: len(weight)] = weight.float()
    model.output.bias[: len(weight)] = (bias if targets is None else bias + targets.double().mean(0)).float()


def _embedding(model: PatchTransformer, sample: Tensor, parts: _Parts) -> None:
    """Content: principal components of patches, halfway whitened. Place: cosines over the grid. Of equal size."""
    pixels = cut(normalise_pixels(sample, model.config), model.config.grid).flatten(0, 1)
    mean = pixels.mean(0)
    values, basis = torch.linalg.eigh((pixels - mean).T @ (pixels - mean) / len(pixels))
    used = parts.content.stop
    values, basis = values.flip(0)[:used].clamp_min(1e-6), basis.flip(1)[:, :used]
    weight = (basis * values.pow(-0.25)).T / values.sqrt().sum().sqrt()
    model.patches.weight.zero_()
    model.patches.bias.zero_()
    model.patches.weight[: len(weight)] = weight
    model.patches.bias[: len(weight)] = -weight @ mean
    codes = _cosines(model.config.grid)[:, : parts.place.stop - parts.place.start]
    model.positions.zero_()
    model.positions[:, parts.place.start : parts.place.start + codes.shape[1]] = (
        codes / codes.square().sum(1).mean().sqrt()
    )


def _cosines(grid: int) -> Tensor:
    """The two-dimensional cosine basis [grid * grid places, waves], slow waves first."""
    steps = torch.arange(grid)
    waves = torch.cos(torch.pi * (steps + 0.5).unsqueeze(1) * steps / grid)
    order = (steps.unsqueeze(1) ** 2 + steps**2).flatten().argsort(stable=True)
    return torch.einsum("ij,kl->ikjl", waves, waves).reshape(grid * grid, -1)[:, order]


def _silence(layer: nn.TransformerEncoderLayer, generator: torch.Generator) -> None:
    """A layer that changes nothing but the scale; its feed-forward part is ready to learn."""
    for parameter in layer.parameters():
        parameter.zero_()
    for norm in (layer.norm1, layer.norm2):
        norm.weight.fill_(1.0)
    nn.init.xavier_uniform_(layer.linear1.weight, generator=generator)


def _edges(model: PatchTransformer, layer: nn.TransformerEncoderLayer, tokens: Tensor, parts: _Parts) -> None:
    """The feed-forward part rectifies gradients at many points of a patch and adds them up by direction and corner."""
    config = model.config
    edge = config.side // config.grid
    points = int((config.feed_forward / _DIRECTIONS) ** 0.5)
    filters, sums = gradient_filters(edge, points)
    if config.colour == "rgb":
        filters = filters.repeat(1, 3)
    used = min(len(filters), config.feed_forward)
    # Back from content to pixels: the patch map's pseudo-inverse.
    weight = filters @ torch.linalg.pinv(model.patches.weight[parts.content])
    layer.linear1.weight[:used].zero_()
    layer.linear1.weight[:used, parts.content] = weight / weight.norm(dim=1).mean()
    layer.linear2.weight[parts.edges, :used] = sums.T[: parts.edges.stop - parts.edges.start]
    middle = layer.norm1(tokens)
    added = layer.linear2(layer.linear1(middle).relu())[:, :, parts.edges]
    layer.linear2.weight.mul_(_EDGES * middle.square().sum(-1).mean().sqrt() / added.square().sum(-1).mean().sqrt())


def gradient_filters(edge: int, points: int) -> tuple[Tensor, Tensor]:
    """Filters [points² * 8, edge²] for the gradient at points of a patch, and how what they find is added up [.., 32].

    Derivatives of a Gaussian in eight directions; each is shared bilinearly among the four corners of the patch.
    """
    axis = torch.arange(edge) + 0.5
    spread = edge / 9
    where = torch.linspace(0.8 * spread, edge - 0.8 * spread, points)
    corners = (torch.arange(_CORNERS) + 0.5) * edge / _CORNERS
    near = (1 - (where.unsqueeze(1) - corners).abs() * _CORNERS / edge).clamp_min(0)
    bell = torch.exp(-((axis - where.unsqueeze(1)) ** 2) / (2 * spread**2))
    slope = bell * (axis - where.unsqueeze(1))
    vertical = torch.einsum("py,qx->pqyx", slope, bell).flatten(2)
    horizontal = torch.einsum("py,qx->pqyx", bell, slope).flatten(2)
    angles = 2 * torch.pi * torch.arange(_DIRECTIONS) / _DIRECTIONS
    filters = torch.einsum("pqn,o->pqon", horizontal, angles.cos()) + torch.einsum(
        "pqn,o->pqon", vertical, angles.sin()
    )
    filters = filters - filters.mean(-1, keepdim=True)
    filters = filters / filters.norm(dim=-1, keepdim=True)
    sums = torch.einsum("pi,qj,ok->pqoijk", near, near, torch.eye(_DIRECTIONS))
    return filters.flatten(0, 2), sums.flatten(3).flatten(0, 2)


def _looks(model: PatchTransformer, edges: Tensor) -> list[_Look]:
    """What the heads of the layers after the first look at, of edges [n, patches, edges]."""
    config = model.config
    heads, size = config.heads * (config.layers - 1), config.dim // config.heads
    if not heads:
        return []
    width = _WIDTH * max(config.grid / heads**0.5, 1.0)
    axis = torch.arange(config.grid, dtype=torch.float32)
    places = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1).reshape(-1, 2)
    # The R2 sequence of Roberts 2018 covers the square evenly, whatever part of it is taken.
    step = torch.tensor([0.7548776662466927, 0.5698402909980532], dtype=torch.float64)
    centres = ((0.5 + torch.arange(1, heads + 1).unsqueeze(1) * step) % 1.0).float() * config.grid - 0.5
    windows = (-(torch.cdist(centres, places) ** 2) / (2 * width**2)).clamp_min(_FAR)
    pooled = torch.einsum("hp,npd->hnd", windows.softmax(1), edges)
    values = [_whitening(rows.double(), size).float() for rows in pooled]
    return [_Look(window, value) for window, value in zip(windows, values, strict=True)]


def _deal(looks: list[_Look], layers: int) -> list[list[_Look]]:
    each = len(looks) // layers
    return [looks[start : start + each] for start in range(0, len(looks), each)]


def _see(edges: Tensor, looks: list[_Look]) -> Tensor:
    """What all heads read [n, heads * size] of edges [n, patches, edges]; a head that reads fewer gets zeros."""
    values = torch.stack([look.values for look in looks])
    windows = torch.stack([look.window for look in looks]).softmax(1)
    return torch.einsum("hp,npd,hsd->nhs", windows, edges, values).flatten(1)


def _results(
    seen: Tensor,
    parts: _Parts,
    dim: int,
    targets: Tensor | None,
    labels: Tensor | None,
    generator: torch.Generator,
) -> Tensor:
    """What of `seen` [n, m] is added to a token: [m, dim], into its content and its unused numbers."""
    free = torch.cat([torch.arange(parts.content.stop), torch.arange(parts.edges.stop, dim)])
    rows = seen.double()
    weight = _map(rows, len(free), targets, labels)
    result = (rows - rows.mean(0)) @ weight.T
    if len(weight) > len(free):
        # More targets than a token has room for: what of them varies most; the output map finds them again.
        basis = torch.linalg.eigh(result.T @ result)[1][:, -len(free) :]
        weight, result = basis.T @ weight, result @ basis
    weight = (weight * _RESULT / result.square().sum(1).mean().sqrt()).float()
    # A random rotation, so that no number of a token carries much more than another.
    turn = torch.linalg.qr(torch.randn(len(free), len(free), generator=generator))[0][: len(weight)]
    written = seen.new_zeros(seen.shape[1], dim)
    written[:, free] = weight.T @ turn
    return written


def _attend(layer: nn.TransformerEncoderLayer, stream: Tensor, looks: list[_Look], rows: Tensor, parts: _Parts) -> None:
    """Heads that look where `looks` say, whatever the query, and add `rows` [dim, dim] of what they read."""
    attention = layer.self_attn
    dim, size = stream.shape[-1], stream.shape[-1] // len(looks)
    _, keys, values = attention.in_proj_weight.view(3, dim, dim)
    # A query of ones times a key of equal numbers is the window's logarithm, after the division by sqrt(size).
    attention.in_proj_bias[:dim].fill_(1.0)
    windows = torch.stack([look.window for look in looks], dim=1)
    keys.copy_((_regress(stream, windows) * size**-0.5).T.repeat_interleave(size, 0))
    for head, look in enumerate(looks):
        values[head * size : head * size + len(look.values), parts.edges] = look.values
    # Tokens have about this norm, and `rows` are made for tokens of norm 1.
    attention.out_proj.weight.copy_(rows.T * stream.square().sum(-1).mean().sqrt())


def _regress(tokens: Tensor, targets: Tensor) -> Tensor:
    """Weights [dim, heads] whose products with tokens [n, patches, dim] are nearest to targets [patches, heads].

    Up to a constant a head, which a softmax does not see.
    """
    rows = (tokens - tokens.mean((0, 1))).double()
    cross = torch.einsum("npd,ph->dh", rows, (targets - targets.mean(0)).double())
    gram = torch.einsum("npd,npe->de", rows, rows)
    ridge = 1e-4 * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    return torch.linalg.solve(gram + ridge, cross).float()


def _map(rows: Tensor, k: int, targets: Tensor | None, labels: Tensor | None) -> Tensor:
    """Weights [k, dim], or [t, dim] with targets, of a linear map of rows [n, dim]; see `initialise`."""
    if targets is not None:
        return _ridge(rows, targets.double())
    return _whitening(rows, k) if labels is None else _discriminant(rows, labels, k)


def _discriminant(rows: Tensor, labels: Tensor, k: int) -> Tensor:
    """k directions [k, dim] of rows [n, dim] in which people differ most, each with variance 1 within a person.

    Linear discriminant analysis among the leading principal directions (Belhumeur et al. 1997); the covariance within
    is shrunk towards the identity's.
    """
    values, basis = torch.linalg.eigh(torch.cov(rows.T, correction=0))
    basis = basis[:, -min(_PRINCIPAL, len(values)) :]
    projected = (rows - rows.mean(0)) @ basis
    _, person, counts = labels.unique(return_inverse=True, return_counts=True)
    means = torch.zeros(len(counts), projected.shape[1], dtype=rows.dtype).index_add_(0, person, projected)
    means = means / counts.unsqueeze(1)
    known = torch.ones(len(counts), dtype=torch.bool)
    known[person[labels < 0]] = False
    several = (counts > _MIRRORED) & known
    off = (projected - means[person])[several[person]]
    within = off.T @ off / max(len(off), 1)
    within = (1 - _SHRINKAGE) * within + _SHRINKAGE * within.diagonal().mean() * torch.eye(len(within)).double()
    spread, axes = torch.linalg.eigh(within)
    white = axes * spread.clamp_min(1e-12).rsqrt()
    order = torch.linalg.eigh(torch.cov((means[known] @ white).T))[1].flip(1)[:, :k]
    found = (basis @ white @ order).T
    return torch.cat([found, found.new_zeros(k - len(found), rows.shape[1])])


def _whitening(rows: Tensor, k: int) -> Tensor:
    """k leading principal directions [k, dim] of rows [n, dim], each scaled to variance 1 or less; zeros beyond dim."""
    centred = rows - rows.mean(0)
    values, basis = torch.linalg.eigh(centred.T @ centred / len(rows))
    values, basis = values.flip(0)[:k].clamp_min(0), basis.flip(1)[:, :k]
    found = (values + _FLOOR * values.mean()).rsqrt().unsqueeze(1) * basis.T
    return torch.cat([found, found.new_zeros(k - len(found), rows.shape[1])])


def _ridge(rows: Tensor, targets: Tensor) -> Tensor:
    """Weights [t, dim] of the regression of targets [n, t] on the leading directions of rows [n, dim], whitened."""
    white = _whitening(rows, min(rows.shape[1], 400))
    features = (rows - rows.mean(0)) @ white.T
    gram = features.T @ features
    ridge = _RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    return torch.linalg.solve(gram + ridge, features.T @ (targets - targets.mean(0))).T @ white
