# Two images: `api` (no torch) and `worker` (with it).  docker-compose.yml builds both.
#
# PyPI's torch for Linux on x86_64 brings CUDA with it (several GB).  For the small CPU build give the address of
# PyTorch's CPU index (its "Get started" page has it):  --build-arg TORCH_INDEX_URL=https://...

FROM python:3.11-slim-bookworm AS base
# Nothing is installed in a running container.
RUN python -m pip uninstall --yes --quiet --root-user-action=ignore setuptools wheel pip \
    && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin coursegraph \
    && install --directory --owner=coursegraph --group=coursegraph /var/cache/coursegraph
ENV PATH=/opt/coursegraph/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    COURSEGRAPH_CACHE_DIR=/var/cache/coursegraph


FROM python:3.11-slim-bookworm AS build-api
WORKDIR /src
RUN python -m venv --without-pip /opt/coursegraph
COPY . .
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m pip install --root-user-action=ignore --require-hashes --requirement requirements/build.txt \
    && python -m pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && python -m pip --python /opt/coursegraph install --root-user-action=ignore --require-hashes --requirement requirements/api.txt \
    && python -m pip --python /opt/coursegraph install --root-user-action=ignore --no-deps /wheels/*.whl


FROM build-api AS build-worker
ARG TORCH_INDEX_URL=""
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m pip --python /opt/coursegraph install --root-user-action=ignore --require-hashes --requirement requirements/worker.txt \
    && python -m pip --python /opt/coursegraph install --root-user-action=ignore --constraint constraints.txt \
    ${TORCH_INDEX_URL:+--extra-index-url "$TORCH_INDEX_URL"} "torch$(sed -n 's/^torch//p' constraints.txt)"


FROM base AS worker
# Fonts for the PNG pictures of titles in Chinese, Japanese and Korean (5 MB); others come with matplotlib.
RUN apt-get update && apt-get install --yes --no-install-recommends fonts-wqy-microhei=0.2.0-beta-3.1 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build-worker /opt/coursegraph /opt/coursegraph
USER 10001
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, sys, time; sys.exit(time.time() - os.stat('/tmp/alive').st_mtime > 30)"]
# Metrics for this project's own network; docker-compose.yml publishes the port nowhere.
CMD ["coursegraph", "work", "--alive-file", "/tmp/alive", "--metrics-host", "0.0.0.0", "--metrics-port", "9100"]


FROM base AS api
COPY --from=build-api /opt/coursegraph /opt/coursegraph
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health/ready', timeout=4)"]
CMD ["coursegraph", "serve", "--host", "0.0.0.0", "--port", "8000"]
