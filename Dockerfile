# docker build -t notifier:1.0.0 --build-arg REVISION=$(git rev-parse HEAD) .
# docker run --read-only --tmpfs /tmp -v notifier:/var/lib/notifier -v ./notifier.yml:/etc/notifier/notifier.yml:ro \
#   --env-file ./environment -p 127.0.0.1:9876:9876 --stop-timeout 45 notifier:1.0.0
# In notifier.yml: listen_address: 0.0.0.0:9876 with credentials, storage.url: sqlite:///var/lib/notifier/notifier.db,
# consumer_key_file: /var/lib/notifier/consumer_key, and the application key and secret as ${OVH_…}, which the file
# "environment" holds as NAME=value, a line each. The key is written into the volume by the same line with
#   -it … notifier:1.0.0 ovh login
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml requirements.txt requirements-build.txt README.md LICENSE ./
COPY notifier notifier
COPY templates templates
COPY config config
# Without what builds and installs: a third of the size.
RUN pip install --no-cache-dir --require-hashes --requirement requirements-build.txt \
    && pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && python -m venv --without-pip /opt/notifier \
    && pip --python /opt/notifier install --no-cache-dir --require-hashes --requirement requirements.txt \
    && pip --python /opt/notifier install --no-cache-dir --no-deps /wheels/*.whl

FROM python:3.13-slim
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Notifier" \
      org.opencontainers.image.description="A self-hosted on-call pager: Alertmanager's webhook in, OVHcloud SMS out" \
      org.opencontainers.image.version="1.0.0" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /opt/notifier /opt/notifier
RUN useradd --system --uid 10001 --home-dir /var/lib/notifier --create-home notifier
USER 10001
WORKDIR /var/lib/notifier
VOLUME /var/lib/notifier
EXPOSE 9876
ENV PATH=/opt/notifier/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
ENV NOTIFIER_CONFIG=/etc/notifier/notifier.yml
HEALTHCHECK --interval=30s --timeout=10s --start-period=20s CMD ["notifier", "healthy"]
ENTRYPOINT ["notifier"]
CMD ["serve", "--log-format", "json"]
