# Betwixt with all it needs, for CPUs:
#
#     docker build --tag betwixt .
#     docker run --rm --volume "$PWD:/work" betwixt interpolate in.mp4 out.mp4 --fps 60
#
# For NVIDIA GPUs (PyTorch with CUDA), and with other extras of pyproject.toml:
#
#     docker build --tag betwixt:cuda --build-arg DEVICE=cuda .
#     docker build --tag betwixt:web --build-arg EXTRAS=web .
ARG BASE=python:3.12-slim-bookworm

FROM ${BASE} AS build
ARG DEVICE=cpu
ARG EXTRAS=""
# Where PyTorch without CUDA comes from; PyPI's for Linux brings CUDA along.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY pyproject.toml constraints.txt README.md LICENSE /source/
COPY src /source/src
RUN set -eu; \
    extras="${EXTRAS}"; \
    case "${DEVICE}" in \
        cpu) index="--extra-index-url ${TORCH_INDEX}" ;; \
        cuda) index=""; extras="torch${extras:+,${extras}}" ;; \
        *) echo "DEVICE is ${DEVICE}: choose cpu or cuda." >&2; exit 1 ;; \
    esac; \
    python3 -m venv /opt/betwixt; \
    /opt/betwixt/bin/pip install --no-cache-dir --disable-pip-version-check ${index} \
        --constraint /source/constraints.txt "/source${extras:+[${extras}]}"; \
    /opt/betwixt/bin/pip uninstall --yes --quiet pip

FROM ${BASE}
LABEL org.opencontainers.image.title="Betwixt" \
      org.opencontainers.image.description="Video frame interpolation for any video and any frame rate" \
      org.opencontainers.image.source="https://github.com/betwixt-project/betwixt" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /opt/betwixt /opt/betwixt
# Any user may run it (--user), so the folders that a run writes to are open to all.
RUN useradd --uid 1000 --user-group --create-home betwixt && mkdir -m 1777 /work /weights
# The NVIDIA variables have an effect only with the NVIDIA Container Toolkit.
ENV PATH=/opt/betwixt/bin:$PATH \
    HOME=/tmp \
    BETWIXT_WEIGHTS=/weights \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility,video
# A number, since Kubernetes cannot tell from a name that a user is not root.
USER 1000:1000
WORKDIR /work
ENTRYPOINT ["betwixt"]
CMD ["--help"]
