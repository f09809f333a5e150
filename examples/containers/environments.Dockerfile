# Several virtual environments in one image, each file of them in it once.
ARG BASE=docker.io/library/python:3.13-slim
FROM ${BASE}
ARG PIP_CACHE_DIR=/var/cache/pip

# From a wheel beside this file, until the package is on the index:
#   pip wheel --no-deps --wheel-dir examples/containers .
RUN --mount=type=cache,target=/var/cache/pip --mount=type=bind,target=/context \
    pip install --find-links /context pip-linkmode

# Hard links within one layer cost nothing. So all of them are made by one RUN, from a
# store that is on the same file system, and that nobody needs when it is done.
COPY requirements.txt .
RUN --mount=type=cache,target=/var/cache/pip \
    for name in web worker tools; do \
        python -m venv --without-pip /opt/$name && \
        pip --python /opt/$name install \
            --link-mode hardlink --link-store /opt/wheels -r requirements.txt \
        || exit 1; \
    done && \
    rm -r /opt/wheels

CMD ["/opt/web/bin/python"]
