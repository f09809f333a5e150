# An application on the image of store.Dockerfile.
#   docker build -f application.Dockerfile -t application --build-arg BASE=python-store .
ARG BASE=python-store
FROM ${BASE}

WORKDIR /app
COPY requirements.txt .
# By symlinks, as the base image says. A hard link to a file of a lower layer is a copy.
RUN --mount=type=cache,target=/root/.cache/pip pip install -r requirements.txt

CMD ["python"]
