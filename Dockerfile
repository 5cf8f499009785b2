# Convoy's images. Target `service`: the server with ONNX Runtime on the CPU, and the client's commands.
#
#     docker build --target service --tag convoy:0.1.0 .
#
# `deploy/check_image.sh` builds it, runs it without root on a read-only file system, asks it and stops it. Releases pin
# the base by digest: --build-arg PYTHON_IMAGE=...@sha256:...
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

# Fills /opt/convoy, the only thing that leaves this stage. Its pip stands in a virtual environment of its own, so that
# /opt/convoy holds neither an installer nor a build system. Both stages have the same base: a virtual environment works
# only with the Python, at the path, that made it.
FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore
RUN python3 -m venv /opt/build && python3 -m venv --without-pip /opt/convoy
WORKDIR /src
COPY requirements/service.txt requirements/
RUN /opt/build/bin/pip --python /opt/convoy/bin/python install --no-compile --no-deps --require-hashes \
        --only-binary :all: --requirement requirements/service.txt
# The build system comes from the development lock, so that it is the tested one and its hash is checked too.
COPY requirements/dev.txt requirements/
RUN sed -n '/^setuptools==/,/[^\]$/p' requirements/dev.txt > build.txt \
    && /opt/build/bin/pip install --no-deps --require-hashes --only-binary :all: --requirement build.txt
COPY . .
# Bytecode that is never compared with its source: the running image could not write it anew, and a builder that sets
# the files' times (for the same digest from the same source) would make compared bytecode look stale at every start.
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && /opt/build/bin/pip --python /opt/convoy/bin/python install --no-compile --no-deps --no-index dist/*.whl \
    && /opt/convoy/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/convoy/lib

FROM ${PYTHON_IMAGE} AS service
LABEL org.opencontainers.image.title="convoy" \
      org.opencontainers.image.description="Serves CNN image classifiers over gRPC in dynamic batches"
# The base's own installer, where it has one: a server that installs nothing needs none.
RUN ! python3 -m pip --version 2> /dev/null || python3 -m pip uninstall --yes pip setuptools wheel
COPY --from=build /opt/convoy /opt/convoy
# ONNX Runtime sends usage data to its makers unless this is set before it is loaded.
ENV ORT_DISABLE_TELEMETRY=1 \
    PATH=/opt/convoy/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    CONVOY_REPOSITORY=/models \
    CONVOY_PORT=8500 \
    CONVOY_METRICS_PORT=8002 \
    CONVOY_DEVICE=cpu
EXPOSE 8500 8002
USER 65532:65532
STOPSIGNAL SIGTERM
# For Docker, Podman and Compose; Kubernetes has its own probes. In a shell, because the port is a setting.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s \
    CMD exec convoy health --server "localhost:$CONVOY_PORT"
ENTRYPOINT ["convoy"]
CMD ["serve"]
