# Targets `service` (the default; no torch, no compiler) and `training`. Arguments, sizes and what a
# container needs: docs/image.md.
FROM python:3.11-slim-bookworm AS base
ENV PATH=/opt/venv/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1
WORKDIR /app

FROM base AS build
# Without pip in the environment: the base's own installs into it.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends binutils \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv --without-pip /opt/venv
WORKDIR /build
COPY pyproject.toml requirements.lock ./

# Packages without code, in a layer that only a change of those two files renews. Where they come
# from is the builder's affair: nothing of the arguments reaches an image.
FROM build AS service-packages
ARG PIP_INDEX_URL
ARG PIP_FIND_LINKS
ARG gpu=false
ARG extras
# Left out: tests, headers, sources and NumPy's tools for Fortran; Arrow's Flight and S3,
# and copies of its libraries under names that nothing loads; ONNX Runtime's tools, and its C library,
# of which the Python module has its own copy; symbols, but not of libraries that auditwheel has
# rewritten, which strip breaks.
# hadolint ignore=DL3003
RUN if [ "$gpu" = true ]; then runtime=gpu; else runtime=service; fi \
    && touch README.md LICENSE \
    && pip --python /opt/venv/bin/python install --no-cache-dir \
        --constraint requirements.lock ".[$runtime${extras:+,$extras}]" \
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
COPY service service
RUN chmod -R a+rX . && python -m compileall -q .

FROM build AS training-packages
ARG PIP_INDEX_URL
ARG PIP_FIND_LINKS
# Where the CPU's wheel of torch is, if the index gives another one by default.
ARG TORCH_INDEX
ARG gpu=false
ARG extras
RUN if [ "$gpu" = true ]; then runtime=gpu; else runtime=service; fi \
    && touch README.md LICENSE \
    && PIP_EXTRA_INDEX_URL="$TORCH_INDEX" pip --python /opt/venv/bin/python install \
        --no-cache-dir --constraint requirements.lock ".[$runtime,train${extras:+,$extras}]"

FROM base AS training-code
COPY bundle bundle
COPY models models
COPY training training
RUN chmod -R a+rX . && python -m compileall -q .

FROM base AS labelled
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="drepmrec" \
      org.opencontainers.image.description="DRepMRec, a multimodal recommender" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.base.name="docker.io/library/python:3.11-slim-bookworm"

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
# Fails if too much was left out.
RUN ["python", "-c", "import service.server"]
