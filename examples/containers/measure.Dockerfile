# What measure.py builds upon: all wheels are there, so that no network is in its figures.
ARG BASE=docker.io/library/python:3.13-slim
FROM ${BASE}
COPY wheels /wheels
COPY requirements.txt /tmp/
# Without wheels for everything, they are downloaded, for the Python of this image.
ARG DOWNLOAD=yes
RUN if [ "$DOWNLOAD" = yes ]; then \
        pip download --quiet --only-binary :all: --dest /wheels --find-links /wheels \
            pip-linkmode uv -r /tmp/requirements.txt; \
    fi
ENV PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels PIP_ROOT_USER_ACTION=ignore \
    UV_FIND_LINKS=/wheels
