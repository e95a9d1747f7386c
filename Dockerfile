# docker build -t retrain .
#
# docker run --rm -v "$PWD:/work" --user "$(id -u):$(id -g)" retrain train flower_photos
#
# Serving:    docker run --rm -p 8000:8000 -v "$PWD:/work" retrain serve model --host 0.0.0.0
# With int8:  docker build --build-arg EXTRAS=[serve,int8] -t retrain .
# With a GPU: docker build --build-arg BASE=tensorflow/tensorflow:2.21.0-gpu -t retrain:gpu .
#             docker run --gpus all ...
# The tests:  docker build --target test .

ARG BASE=python:3.12-slim

FROM ${BASE} AS base
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /opt/retrain
COPY setup.cfg pyproject.toml constraints.txt README.md LICENSE ./
COPY retrain retrain
ARG EXTRAS=[serve]
RUN pip install --constraint constraints.txt ".${EXTRAS}"

FROM base AS test
RUN apt-get update && apt-get install --yes --no-install-recommends make && rm -rf /var/lib/apt/lists/*
COPY . .
RUN make test

FROM base
# The default network's weights are part of the image where there is a network at build time; else they are downloaded
# when they are first wanted.
RUN mkdir -p /opt/retrain/backbones \
 && { HOME=/tmp/fetch retrain backbones fetch inception_v3 --to /opt/retrain/backbones \
      || echo "Inception v3 is not in this image: it is downloaded when it is first used" >&2; } \
 && rm -rf /tmp/fetch
# Pictures, cache and model lie under /work, on the user's disk; downloaded weights are kept in /weights.
ENV HOME=/home/retrain RETRAIN_BACKBONES=/opt/retrain/backbones
ENV XDG_CACHE_HOME=/weights KERAS_HOME=/weights/keras TFHUB_CACHE_DIR=/weights/hub
RUN useradd --create-home --home-dir /home/retrain retrain \
 && mkdir -p /work /weights && chmod 777 /work && chmod 1777 /weights
USER retrain
WORKDIR /work
VOLUME ["/work", "/weights"]
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["python", "-m", "retrain.cli.health"]
ENTRYPOINT ["retrain"]
CMD ["--help"]
