# Build in one stage, run in another: COPY takes the environment, not what it links to.
#   docker build -f multi-stage.Dockerfile --target application .
#   docker build -f multi-stage.Dockerfile --target materialized .
#   docker build -f multi-stage.Dockerfile --target with-store .
ARG BASE=docker.io/library/python:3.13-slim

FROM ${BASE} AS tools
ARG PIP_CACHE_DIR=/var/cache/pip
# From a wheel beside this file, until the package is on the index:
#   pip wheel --no-deps --wheel-dir examples/containers .
RUN --mount=type=cache,target=/var/cache/pip --mount=type=bind,target=/context \
    pip install --find-links /context pip-linkmode
RUN python -m venv --without-pip /app
COPY requirements.txt .

# 1. The store in a cache mount, and auto: files of its own, there is nothing to think of.
FROM tools AS build
ARG PIP_CACHE_DIR=/var/cache/pip
RUN --mount=type=cache,target=/var/cache/pip \
    pip --python /app install -r requirements.txt

FROM ${BASE} AS application
COPY --from=build /app /app
CMD ["/app/bin/python"]

# 2. Symlinks, made real before they are copied.
FROM tools AS build-materialized
ENV PIP_LINK_MODE=symlink PIP_LINK_STORE=/opt/wheels
RUN pip --python /app install -r requirements.txt
RUN pip-linkmode materialize /app

FROM ${BASE} AS materialized
COPY --from=build-materialized /app /app
CMD ["/app/bin/python"]

# 3. Symlinks, and the store at the same path.
FROM tools AS build-with-store
ENV PIP_LINK_MODE=symlink PIP_LINK_STORE=/opt/wheels
RUN pip --python /app install -r requirements.txt

FROM ${BASE} AS with-store
COPY --from=build-with-store /opt/wheels /opt/wheels
COPY --from=build-with-store /app /app
CMD ["/app/bin/python"]
