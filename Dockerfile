# Targets: `service` (the default, without torch and compiler) and `training`. docs/guide/image.md
# lists build arguments, sizes and what a container needs.
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
COPY pyproject.toml requirements.lock requirements.hashes scripts/hashes.py ./

# Packages without the project's code, in a layer that is rebuilt only when those files change. The
# package index is a build argument and is not stored in any image. pip first says what it would
# install, then installs the files with the digests of requirements.hashes, and at last the project.
FROM build AS service-packages
ARG PIP_INDEX_URL
ARG PIP_FIND_LINKS
ARG gpu=false
ARG extras
# Removed: tests, headers, sources and NumPy's Fortran tools; Arrow's Flight and S3, and copies of
# its libraries under names that nothing loads; ONNX Runtime's tools, and its C library, of which the
# Python module contains a copy; debug symbols, except those of libraries that auditwheel has
# rewritten, because strip breaks them.
# hadolint ignore=DL3003
RUN if [ "$gpu" = true ]; then runtime=gpu; else runtime=service; fi \
    && touch README.md LICENSE \
    && pip="pip --no-cache-dir --python /opt/venv/bin/python install" \
    && $pip --quiet --dry-run --report wanted.json \
        --constraint requirements.lock ".[$runtime${extras:+,$extras}]" \
    && python3 hashes.py wanted.json >wanted.txt \
    && $pip --no-deps --require-hashes --requirement wanted.txt \
    && $pip --no-deps . \
    && cd /opt/venv/lib/python3.11/site-packages \
    && find numpy -name tests -type d -prune -exec rm -r {} + \
    && rm -r onnxruntime/quantization onnxruntime/tools onnxruntime/transformers \
        onnxruntime/capi/libonnxruntime.so.* \
    && rm -r pyarrow/include pyarrow/includes pyarrow/src pyarrow/tests \
        pyarrow/*.pxi pyarrow/*.pyx pyarrow/*.pxd \
    && rm -r pyarrow/*flight* pyarrow/*s3* pyarrow/_pyarrow_cpp_tests* \
    && rm pyarrow/libarrow_python*.so pyarrow/libarrow_python*.so.*.*.* \
    && rm -r numpy/distutils numpy/f2py \
    && strip --strip-unneeded pyarrow/*.so* uvloop/*.so

FROM base AS service-code
COPY bundle bundle
COPY drepmrec drepmrec
COPY service service
RUN chmod -R a+rX . && python -m compileall -q .

FROM build AS training-packages
ARG PIP_INDEX_URL
ARG PIP_FIND_LINKS
# Index with torch's wheel for CPUs, for use when the default index has another one.
ARG TORCH_INDEX
ARG gpu=false
ARG extras
RUN if [ "$gpu" = true ]; then runtime=gpu; else runtime=service; fi \
    && touch README.md LICENSE \
    && export PIP_EXTRA_INDEX_URL="$TORCH_INDEX" \
    && pip="pip --no-cache-dir --python /opt/venv/bin/python install" \
    && $pip --quiet --dry-run --report wanted.json \
        --constraint requirements.lock ".[$runtime,train${extras:+,$extras}]" \
    && python3 hashes.py wanted.json >wanted.txt \
    && $pip --no-deps --require-hashes --requirement wanted.txt \
    && $pip --no-deps --constraint requirements.lock torch .

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
