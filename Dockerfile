# docker build -t notifier:0.1.0 . && docker run --read-only --tmpfs /tmp -v notifier:/var/lib/notifier \
#   -v ./notifier.yml:/etc/notifier/notifier.yml:ro --env-file ./environment -p 127.0.0.1:9876:9876 notifier:0.1.0
# In notifier.yml: listen_address: 0.0.0.0:9876 with credentials, storage.url: sqlite:///var/lib/notifier/notifier.db,
# and what OVHcloud gave as ${OVH_…}, which the file "environment" holds as NAME=value, a line each.
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
COPY --from=build /opt/notifier /opt/notifier
RUN useradd --system --uid 10001 --home-dir /var/lib/notifier --create-home notifier
USER 10001
WORKDIR /var/lib/notifier
VOLUME /var/lib/notifier
EXPOSE 9876
ENV PATH=/opt/notifier/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9876/-/healthy', timeout=4)"]
ENTRYPOINT ["notifier"]
CMD ["serve", "--config", "/etc/notifier/notifier.yml", "--log-format", "json"]
