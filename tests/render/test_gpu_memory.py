"""A GPU without room ends in one message; the errors are raised by hand, as torch, CUDA and Warp word them."""

import pytest
import torch

from flare_cli.errors import OutOfMemoryError
from flare_cli.render.gpu_memory import gpu_memory

TORCH = torch.cuda.OutOfMemoryError(
    "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 7.79 GiB of which 1.1 GiB is free."
)


@pytest.mark.parametrize(
    "error",
    [
        TORCH,
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("Failed to allocate 1048576 bytes on device 'cuda:0'"),
    ],
)
def test_every_wording_becomes_one_message(error: RuntimeError):
    with pytest.raises(OutOfMemoryError, match="the GPU ran out of memory") as caught, gpu_memory("draw less"):
        raise error
    assert "\n" not in caught.value.message
    assert caught.value.hint == "draw less"
    assert caught.value.exit_code == 2


def test_what_was_asked_for_is_said():
    with pytest.raises(OutOfMemoryError, match=r"2\.50 GiB more were needed"), gpu_memory(""):
        raise TORCH


def broken_capture() -> None:
    try:
        raise TORCH
    except RuntimeError:
        raise RuntimeError("operation failed due to a previous error during capture")  # noqa: B904


def test_a_broken_capture_does_not_hide_the_cause():
    with pytest.raises(OutOfMemoryError), gpu_memory(""):
        broken_capture()


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="shapes"), gpu_memory(""):
        raise RuntimeError("shapes cannot be multiplied")
