"""The parts of a fit step on a GPU: which kernels belong to each, and the least bytes and operations it needs.

Floors are counted, not measured: every input read once, every output written once, and only products counted.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import nn

from flare_cli.avatar.light import NeuralLight
from flare_cli.fit.stage import StageRunner
from flare_cli.render.light.integrated_directional import ENCODING_WIDTH
from flare_cli.render.light.octahedral_map import SIDE

# The first part one of whose names begins (Warp, Triton) or is within (torch) a kernel's name takes the kernel.
BEGINS = {
    "hash grid, gradient": ("hash_grid_kernels__locals__encode_backward",),
    "hash grid": ("hash_grid_kernels__locals__encode",),
    "networks, gradient": ("mlp_backward",),
    "networks": ("mlp",),
    "light on the sphere": ("look_up_",),
    "directional encoding": ("encode_",),
    "sum over directions": ("sum_light",),
    "shading": ("facing_", "mirror_", "compose_"),
    "picture loss": ("photometric_loss_",),
    "rasterize, interpolate, antialias": (
        "to_pixels_", "to_screen_", "nearest_", "resolve_", "interpolate_", "list_seams_", "find_silhouettes_",
        "blend_", "scatter_", "gather_", "list_pixels_",
    ),
    "normals, normal consistency, Laplacian": ("area_vector", "vertex_gradients_", "normal_consistency_", "laplacian_"),
}  # fmt: skip
WITHIN = {
    "pictures from the host": ("Memcpy HtoD",),
    "Adam": ("multi_tensor_apply",),
    "deformer products": ("gemm", "cutlass", "xmma", "splitK", "nvjet"),
    "sums": ("reduce_kernel",),
    "gathers and scatters": ("index", "scatter", "gather", "Cat"),
    "copies and fills": ("copy", "Memset", "Fill", "memcpy", "Memcpy"),
}
REST = "other elementwise"


@dataclass(frozen=True, slots=True)
class Work:
    """The least a part must move and multiply."""

    bytes: float
    flops: float = 0.0


def part_of(kernel: str) -> str:
    """The part that a kernel belongs to."""
    for part, names in BEGINS.items():
        if kernel.startswith(names):
            return part
    return next((part for part, names in WITHIN.items() if any(name in kernel for name in names)), REST)


def least_work(runner: StageRunner) -> dict[str, Work]:
    """Floors of the parts whose work follows from the sizes of the step; the rest should not exist."""
    avatar, config, (_, projections) = runner.avatar, runner.config, runner.track.all()
    assert runner.most_pixels is not None
    points, batch = int(runner.most_pixels), runner.stage.batch
    pixels, vertices = batch * projections.height * projections.width, batch * len(avatar.mesh.offsets)
    smooth = round(points * config.loss.albedo_samples) if config.loss.albedo_smoothness > 0 else 0
    numbers = sum(parameter.numel() for group in runner.optimiser.groups for parameter in group.parameters)
    table = 4 * sum(parameter.numel() for parameter in avatar.material.encoding.parameters())
    features, looked_up = avatar.material.encoding.width, 0
    material = _layers(avatar.material.network)
    evaluations = [(points, material), (smooth, material)]
    if isinstance(avatar.light, NeuralLight):
        light, looked_up = _layers(avatar.light.network), points + (SIDE + 1) ** 2
        evaluations.append((looked_up, light))
    products = sum(2 * n * sum(layer.weight.numel() for layer in layers) for n, layers in evaluations)
    network_bytes = sum(4 * n * (layers[0].in_features + layers[-1].out_features) for n, layers in evaluations)
    encoded = (points + smooth) * (12 + 4 * features)
    corners = 8 * config.material.levels * (points + smooth) * 4 * config.material.features
    directions = looked_up * 4 * (4 + ENCODING_WIDTH)
    fragments = pixels * (8 + 4 + 12 + 4)  # key, triangle, barycentrics, depth
    surface = points * 4 * 10  # material position, reflectance, position, normal
    return {
        "hash grid": Work(encoded + min(corners, table)),
        "hash grid, gradient": Work(encoded + 12 * points + min(corners, table) + 2 * min(corners, table)),
        "networks": Work(network_bytes, products),
        "networks, gradient": Work(
            network_bytes + sum(4 * n * layers[0].in_features for n, layers in evaluations), 2 * products
        ),
        "light on the sphere": Work(2 * points * 24 if looked_up else 0),
        "sum over directions": Work(0 if looked_up else points * 4 * (25 + 31 + 23)),
        "directional encoding": Work(2 * directions),
        "shading": Work(2 * points * 4 * 24),
        "picture loss": Work(pixels * (16 + 5 + 16)),
        "rasterize, interpolate, antialias": Work(2 * (fragments + surface + 2 * pixels * 16 + 2 * vertices * 16)),
        "normals, normal consistency, Laplacian": Work(2 * (vertices + len(avatar.mesh.offsets)) * 24),
        "Adam": Work(28 * numbers),
    }


def _layers(network: nn.Sequential) -> list[nn.Linear]:
    return [layer for layer in network if isinstance(layer, nn.Linear)]


def ceilings(device: torch.device) -> tuple[float, float]:
    """Bytes per second of a large copy, and operations per second of a large bfloat16 product, on this card."""
    source = torch.empty(2**30, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    factor = torch.randn(8192, 8192, device=device, dtype=torch.bfloat16)
    copied = 2 * source.numel() / _seconds(lambda: target.copy_(source), device)
    return copied, 2 * 8192**3 / _seconds(lambda: factor @ factor, device)


def _seconds(work, device: torch.device, repeats: int = 10) -> float:
    work()
    torch.cuda.synchronize(device)
    started = time.perf_counter()
    for _ in range(repeats):
        work()
    torch.cuda.synchronize(device)
    return (time.perf_counter() - started) / repeats
