# pip's cache, and in it the store, in a cache mount: nothing is downloaded, unpacked or
# compiled twice, and the layer is what pip alone would make of it.
ARG BASE=docker.io/library/python:3.13-slim
FROM ${BASE}
ARG PIP_CACHE_DIR=/var/cache/pip

# What is in a cache mount is not there when the image runs: auto never links to it.
ARG PIP_LINK_MODE=auto

# From a wheel beside this file, until the package is on the index:
#   pip wheel --no-deps --wheel-dir examples/containers .
RUN --mount=type=cache,target=/var/cache/pip --mount=type=bind,target=/context \
    pip install --find-links /context pip-linkmode

WORKDIR /app
COPY requirements.txt .
RUN --mount=type=cache,target=/var/cache/pip pip install -r requirements.txt

CMD ["python"]
