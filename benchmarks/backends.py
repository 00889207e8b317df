"""Every rasterizer and hash grid that runs here, side by side: times as multiples of Warp's, and how far they agree.

python benchmarks/backends.py [--device auto] [--size 512] [--batch 4] [--points 300000] [--levels 0 1 2]
"""

import argparse
from functools import partial

import torch

from flare_cli.apps.bench.bench import BenchRequest, bench, head_scene
from flare_cli.apps.bench.clock import Clock
from flare_cli.apps.bench.tables import markdown
from flare_cli.render.device import choose_device
from flare_cli.render.optional import NVDIFFRAST


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--points", type=int, default=300_000)
    parser.add_argument("--levels", type=int, nargs="+", default=[0, 1, 2], help="subdivisions of the open head")
    options = parser.parse_args()
    request = BenchRequest(
        device=choose_device(options.device),
        size=options.size,
        batch=options.batch,
        subdivisions=tuple(options.levels),
        points=options.points,
    )
    result = bench(request, lambda *_: None)
    print(markdown(result))
    if "nvdiffrast" in result.rasterizers:
        own_antialiasing(request)


def own_antialiasing(request: BenchRequest) -> None:
    """nvdiffrast's own antialiasing, which `NvdiffrastRasterizer` leaves to our kernels."""
    ops, clock = NVDIFFRAST.load(".torch"), Clock(request.device, request.repeats)
    context = ops.RasterizeCudaContext(request.device)
    for subdivisions in request.subdivisions:
        scene = head_scene(subdivisions, request.batch, request.size, request.device)
        clip, faces = scene.clip.clone().requires_grad_(), scene.faces.int()
        fragments, _ = ops.rasterize(context, clip.detach(), faces, (scene.size, scene.size))
        image = torch.rand(*fragments.shape[:3], 3, device=request.device, requires_grad=True)
        topology_hash = ops.antialias_construct_topology_hash(faces)
        antialias = partial(ops.antialias, image, fragments, clip, faces, topology_hash=topology_hash)
        forward, backward = clock.time(antialias), clock.time_gradient((antialias(),), (image, clip))
        print(
            f"nvdiffrast's own antialias, {len(faces)} triangles: GPU time {forward.busy:.3f} ms,"
            f" gradient {backward.busy:.3f} ms; latency {forward.latency:.3f} ms, gradient {backward.latency:.3f} ms"
        )


if __name__ == "__main__":
    main()
