# What solver jobs need: the client and MPI, no torch. A solver of yours is installed on top of it.
FROM python:3.11-slim
WORKDIR /opt/melissa_like
COPY . .
RUN pip install --no-cache-dir -c constraints.txt '.[mpi]'
WORKDIR /work
CMD ["python", "-m", "melissa_like.client"]
