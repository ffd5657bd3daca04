# framewise in a container: the web server and a worker, as a user without privileges.
#
#   docker build -t framewise .                        CPU builds of torch
#   docker build -t framewise --build-arg TORCH=cuda . the package index's torch, for a GPU; several GB larger
FROM python:3.12-slim

ARG TORCH=cpu
ARG TORCH_CPU_INDEX=https://download.pytorch.org/whl/cpu

ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    HOME=/tmp

WORKDIR /app

# What framewise runs with comes first: its layer is built again only when requirements.txt changes.
COPY requirements.txt ./
RUN if [ "$TORCH" = cpu ]; then \
        pip install --index-url "$TORCH_CPU_INDEX" $(grep -E '^torch(vision)?==' requirements.txt); \
    fi \
    && pip install -r requirements.txt

COPY pyproject.toml README.md LICENSE model.py timeline_labels.py _wsgi.py ./
COPY utils utils
COPY framewise framewise
# Editable, so that there is one copy of the package whether it is imported from /app or run as the framewise command.
# With the libraries for Redis and Dask, besides what is installed already.
RUN pip install --constraint requirements.txt --editable ".[dask,redis]" \
    && chmod -R a+rX /app \
    && useradd --uid 1000 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin framewise \
    && mkdir models cache_dir data \
    && chown framewise:framewise models cache_dir data

USER framewise
ENV HOST=0.0.0.0
EXPOSE 9090
VOLUME ["/app/models", "/app/cache_dir", "/app/data"]
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=6 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + (os.environ.get('PORT') or '9090') + '/health', timeout=4)"]
CMD ["framewise", "serve"]
