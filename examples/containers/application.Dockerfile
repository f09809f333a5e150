# An application on the image of store.Dockerfile.
#   docker build -f application.Dockerfile -t application --build-arg BASE=python-store .
ARG BASE=python-store
FROM ${BASE}
ARG PIP_CACHE_DIR=/var/cache/pip

WORKDIR /app
COPY requirements.txt .
# By symlinks, as the base image says. A hard link to a file of a lower layer is a copy.
RUN --mount=type=cache,target=/var/cache/pip pip install -r requirements.txt

CMD ["python"]
