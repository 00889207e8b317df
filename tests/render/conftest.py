"""The rasterizer under test: each that runs here in turn."""

import pytest
from support import candidates


@pytest.fixture(params=candidates.parameters(candidates.RASTERIZERS))
def rasterizer(request):
    chosen = candidates.rasterizer_of(request.param)
    reason = candidates.expected_failure(chosen.name, request.node)
    if reason:
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
    return chosen
