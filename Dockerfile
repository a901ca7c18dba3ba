# docker build -t dispatcher .
# docker run -p 127.0.0.1:8080:80 -v dispatcher-data:/var/lib/dispatcher dispatcher
#
# docs/deployment.md says more, also how to build where there is no way to PyPI or Docker Hub.

# Any image with Python 3.11 or newer as `python`, with venv, and with the certificates of the usual
# authorities.
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
# pip reads these from the environment. Not set, they change nothing.
ARG PIP_INDEX_URL
ARG PIP_FIND_LINKS
ARG PIP_NO_INDEX
# 1: the hot path is not compiled, and no C compiler is needed.
ARG DISPATCHER_PURE
RUN test -n "${DISPATCHER_PURE}" || command -v cc >/dev/null || { \
        apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev; }
WORKDIR /src
# The versions that were tested, each with its hash: config/packaging/lock.sh renews them. The environment
# that is copied below has no pip in it: nothing is installed in a running container.
COPY config/packaging ./config/packaging
RUN python -m venv /tools \
    && /tools/bin/pip install --no-cache-dir --require-hashes --requirement config/packaging/build.txt \
    && python -m venv --without-pip /opt/dispatcher \
    && /tools/bin/pip --python /opt/dispatcher/bin/python install --no-cache-dir \
        --require-hashes --requirement config/packaging/requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY dispatcher ./dispatcher
RUN DISPATCHER_COMPILED=1 /tools/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /dist . \
    && /tools/bin/pip --python /opt/dispatcher/bin/python install --no-cache-dir --no-deps /dist/*.whl

FROM ${BASE}
# The number is fixed because files in volumes belong to it. Without the certificates no https
# destination could be verified: better the build fails than the first delivery.
RUN test -s /etc/ssl/certs/ca-certificates.crt \
    && groupadd --gid 10001 dispatcher \
    && useradd --uid 10001 --gid 10001 --home-dir /var/lib/dispatcher --no-create-home \
        --shell /usr/sbin/nologin dispatcher \
    && install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/dispatcher
COPY --from=build /opt/dispatcher /opt/dispatcher
COPY config/container/healthcheck.py /opt/dispatcher/healthcheck.py

# A number, so that Kubernetes can tell that it is not root (runAsNonRoot).
USER 10001:10001
WORKDIR /var/lib/dispatcher

# Settings of the environment win over those of a file, so these three can only be changed with --env.
# Docker lets everybody bind port 80 inside a container (net.ipv4.ip_unprivileged_port_start is 0 there).
# Where that is not so, as with --network host or in Podman, choose another one: --env LISTEN=:8080.
# The API stays on loopback, inside the container: set API_LISTEN=:8081 together with API_KEYS.
ENV PATH=/opt/dispatcher/bin:$PATH \
    TRANSACTION_LOG=/var/lib/dispatcher/transaction.log \
    DEAD_LETTER=/var/lib/dispatcher/deadletter.log \
    LISTEN=:80

# Messages wait here: without a named volume they are as good as gone with the container.
VOLUME /var/lib/dispatcher

EXPOSE 80 8081

# Healthy is ready: messages are accepted. The start period is for reading back a long log. Docker and
# Compose never restart what is unhealthy; Swarm does, and a full disk is not healed by that: see
# docs/deployment.md. -I -S: nothing but the standard library is loaded, which takes 60 ms.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-I", "-S", "/opt/dispatcher/healthcheck.py"]

# The exec form: the server is process 1 and gets the signal itself. A command other than `serve` can be
# given: docker run --rm dispatcher config check
STOPSIGNAL SIGTERM
ENTRYPOINT ["dispatcher"]
CMD ["serve"]

# Last, as they change with every build.
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="dispatcher" \
      org.opencontainers.image.description="A durable HTTP dispatcher: it answers 202 once a request is on disk, and delivers it until it succeeds." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
