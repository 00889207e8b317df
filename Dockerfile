# flare in a container, as README.md installs it.
#
#   docker build --target cpu -t flare .         any machine; some 2 GB
#   docker build --target cuda -t flare:cuda .   NVIDIA GPUs (driver and NVIDIA Container Toolkit on the host); some 8 GB
#
#   docker run --rm -v "$PWD:/work" flare preprocess me.mp4 -o me
#   docker run --rm --gpus all -v "$PWD:/work" flare:cuda fit me -o runs/me
#   docker run --rm -it --network host -v "$PWD:/work" flare view runs/me     # the page listens on 127.0.0.1 of the host
#
# Files belong to root then; `--user "$(id -u):$(id -g)"` makes them yours.

FROM python:3.12-slim AS source
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY flare_cli flare_cli
COPY configs configs
COPY assets assets

FROM python:3.12-slim AS base
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
# Compiled kernels, heads that were added and caches, writable for any user; keep them with `-v flare:/flare`.
ENV HOME=/flare WARP_CACHE_PATH=/flare/warp FLARE_DATA=/flare/data
RUN mkdir -p /flare/data /flare/warp /work && chmod -R a+rwX /flare
WORKDIR /work
ENTRYPOINT ["flare"]
CMD ["--help"]

FROM base AS cpu
RUN --mount=type=bind,from=source,source=/source,target=/source,rw \
    pip install -c /source/constraints.txt torch torchvision --index-url https://download.pytorch.org/whl/cpu && \
    pip install -c /source/constraints.txt "/source[exr,usd]"
RUN flare doctor

FROM base AS cuda
# Triton, which makes a fit on a GPU a third faster, compiles with gcc.
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
RUN --mount=type=bind,from=source,source=/source,target=/source,rw \
    pip install -c /source/constraints.txt "/source[exr,usd]"
RUN flare doctor
