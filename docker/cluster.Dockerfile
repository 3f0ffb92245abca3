# A host of the small cluster of compose.yaml: Slurm of Debian's packages, and melissa_like with everything it needs.
FROM debian:12-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        ca-certificates munge python3 python3-venv slurm-client slurmctld slurmd \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/melissa_like
COPY . .
ENV PATH=/opt/venv/bin:$PATH SLURM_CONF=/cluster/slurm.conf
RUN python3 -m venv /opt/venv && pip install --no-cache-dir -c constraints.txt '.[all]'
WORKDIR /work
ENTRYPOINT ["/opt/melissa_like/docker/entry"]
