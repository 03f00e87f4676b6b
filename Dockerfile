# syntax=docker/dockerfile:1
# docker build -t sapiens_pl .
# docker run --rm --gpus all --shm-size=8g -v "$PWD:/data" sapiens_pl \
#     data.images=/data/photos model=sapiens_1b_308 hydra.run.dir=/data/my_run
#
# --shm-size: the loader's processes hand their batches over in shared memory, of which a container has 64 MB; 1 GB for
# four processes is plenty, 8 GB for sixteen. --user "$(id -u):$(id -g)" where /data is yours alone.
# Test of the image, offline, with or without a GPU: docker run --rm --shm-size=1g sapiens_pl
# It ends with the demo's table and exit code 0.
FROM python:3.11-slim

# OpenCV's wheel needs these two of the system.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

# Extras: slurm, detector, evaluate, pandas, video, ray.
ARG EXTRAS=detector,evaluate,video
WORKDIR /opt/sapiens_pl
COPY constraints.txt pyproject.toml README.md CHANGELOG.md LICENSE ./
COPY sapiens_pl sapiens_pl
COPY conf conf
# PyPI's wheels of torch for Linux bring CUDA's libraries; the machine needs NVIDIA's driver and container toolkit.
RUN pip install --no-cache-dir --constraint constraints.txt ".[${EXTRAS}]"

# Whoever the container runs as, /work, the weights' and the batch sizes' caches can be written.
RUN useradd --create-home --uid 1000 sapiens \
    && mkdir --mode 1777 /work /cache
ENV HF_HOME=/cache/huggingface XDG_CACHE_HOME=/cache MPLCONFIGDIR=/cache/matplotlib PYTHONUNBUFFERED=1
USER sapiens
WORKDIR /work

ENTRYPOINT ["python", "-m", "sapiens_pl.predict"]
