# A base image with a store: what it holds costs the images on top of it next to nothing.
#   docker build -f store.Dockerfile -t python-store .
ARG BASE=docker.io/library/python:3.13-slim
FROM ${BASE}
ARG PIP_CACHE_DIR=/var/cache/pip

# From a wheel beside this file, until the package is on the index:
#   pip wheel --no-deps --wheel-dir examples/containers .
RUN --mount=type=cache,target=/var/cache/pip --mount=type=bind,target=/context \
    pip install --find-links /context pip-linkmode

# At a path of its own, which stays the same in all images: links lead there.
ENV PIP_LINK_STORE=/opt/wheels PIP_LINK_MODE=symlink
COPY requirements.txt /tmp/
RUN --mount=type=cache,target=/var/cache/pip \
    pip-linkmode fill -r /tmp/requirements.txt && rm /tmp/requirements.txt

CMD ["python"]
