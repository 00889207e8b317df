import torch

from flare_cli.apps.bench.bench import BenchRequest, bench
from flare_cli.apps.bench.tables import markdown
from flare_cli.parallel.progress import quiet


def test_bench_measures_what_is_here_and_says_what_is_not():
    request = BenchRequest(device=torch.device("cpu"), size=32, batch=1, subdivisions=(0,), points=500, repeats=1)
    result = bench(request, quiet)
    assert result.rasterizers[0] == result.encodings[0] == "warp"
    assert {"nvdiffrast", "tinycudann"} <= set(result.missing)
    assert all(ms.latency > 0 for timing in result.rasterizing + result.encoding for ms in timing.durations)
    text = markdown(result)
    assert "| rasterize, 10748 triangles |" in text
    assert "(1.00)" in text
    assert "Not measured: nvdiffrast runs on NVIDIA GPUs only" in text
