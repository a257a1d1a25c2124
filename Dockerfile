# Targets: `service` (the default) and `refresh`, both without torch and compiler, and `training`.
# docs/guide/image.md lists build arguments, sizes and what a container needs.
ARG BASE=python:3.11-slim-bookworm
# hadolint ignore=DL3006
FROM $BASE AS base
ENV PATH=/opt/venv/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1
WORKDIR /app

FROM base AS build
# The environment has no pip of its own; the base image's pip installs into it.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends binutils \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv --without-pip /opt/venv
WORKDIR /build
COPY pyproject.toml requirements.lock requirements.hashes scripts/hashes.py scripts/image-packages ./

# Packages without the project's code, in layers that are rebuilt only when those files change. The
# package index is a build argument and is not stored in any image.
FROM build AS service-packages
ARG PIP_INDEX_URL
ARG PIP_FIND_LINKS
ARG gpu=false
ARG extras
RUN if [ "$gpu" = true ]; then runtime=gpu; else runtime=service; fi \
    && sh image-packages "$runtime${extras:+,$extras}" slim

FROM build AS refresh-packages
ARG PIP_INDEX_URL
ARG PIP_FIND_LINKS
ARG gpu=false
ARG extras
RUN if [ "$gpu" = true ]; then runtime=gpu; else runtime=service; fi \
    && sh image-packages "$runtime,refresh${extras:+,$extras}" slim

FROM build AS training-packages
ARG PIP_INDEX_URL
ARG PIP_FIND_LINKS
# Index with torch's wheel for CPUs, for use when the default index has another one.
ARG TORCH_INDEX
ARG gpu=false
ARG extras
RUN if [ "$gpu" = true ]; then runtime=gpu; else runtime=service; fi \
    && export PIP_EXTRA_INDEX_URL="$TORCH_INDEX" \
    && sh image-packages "$runtime,train${extras:+,$extras}"

FROM base AS service-code
COPY bundle bundle
COPY drepmrec drepmrec
COPY service service
RUN chmod -R a+rX . && python -m compileall -q .

FROM base AS training-code
COPY bundle bundle
COPY drepmrec drepmrec
COPY models models
COPY training training
RUN chmod -R a+rX . && python -m compileall -q .

FROM base AS labelled
ARG BASE
# For the command `drepmrec`, which does not look for modules in the working directory.
ENV PYTHONPATH=/app
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="drepmrec" \
      org.opencontainers.image.description="DRepMRec, a multimodal recommender" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.base.name="docker.io/library/$BASE"

FROM labelled AS training
ENTRYPOINT ["python", "-m", "training"]
COPY --from=training-packages /opt/venv /opt/venv
COPY --from=training-code /app /app
USER 10001:10001

FROM labelled AS refresh
ENTRYPOINT ["python", "-m", "training"]
COPY --from=refresh-packages /opt/venv /opt/venv
COPY --from=training-code /app /app
USER 10001:10001
# Fails if something that a refresh needs was removed.
RUN ["python", "-c", "import training.cli.refresh, training.cli.recommend, training.gate.report, onnx, bundle.onnx_runtime as o; o.runtime()"]

FROM labelled AS service
ENV DREPMREC_STORE=/store DREPMREC_HOST=0.0.0.0 DREPMREC_PORT=8000
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"DREPMREC_PORT\"]}/readyz', timeout=2)"]
ENTRYPOINT ["python", "-m", "service"]
COPY --from=service-packages /opt/venv /opt/venv
COPY --from=service-code /app /app
USER 10001:10001
# Fails if something that the service needs was removed.
RUN ["python", "-c", "import service.server, bundle.onnx_runtime as o; o.runtime()"]
