# docker build -t dispatcher .
# docker run -p 8080:80 -v dispatcher-data:/var/lib/dispatcher dispatcher

FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY dispatcher ./dispatcher
RUN python -m venv /opt/dispatcher && /opt/dispatcher/bin/pip install --no-cache-dir .

FROM python:3.13-slim
# ca-certificates: https destinations are verified against the system's trust store.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /var/lib/dispatcher dispatcher \
    && install --directory --owner=dispatcher --group=dispatcher --mode=0700 /var/lib/dispatcher
COPY --from=build /opt/dispatcher /opt/dispatcher

# Inside a container Docker lets everybody bind port 80 (net.ipv4.ip_unprivileged_port_start is 0).
USER dispatcher
WORKDIR /var/lib/dispatcher
ENV PATH=/opt/dispatcher/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    TRANSACTION_LOG=/var/lib/dispatcher/transaction.log \
    DEAD_LETTER=/var/lib/dispatcher/deadletter.log \
    LISTEN=:80

# Messages wait here: without a volume they go with the container.
VOLUME /var/lib/dispatcher

# 8081 only answers outside the container with API_LISTEN=:8081 and API_KEYS.
EXPOSE 80 8081

# Asks the listener for callers, whose address LISTEN fixes above.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:80/healthz', timeout=2)"]

# The exec form: the server is process 1 and gets the signal itself.
STOPSIGNAL SIGTERM
CMD ["dispatcher"]
