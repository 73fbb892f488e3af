# MLflow with the driver for PostgreSQL, which MLflow's own image lacks.
ARG PYTHON_IMAGE=docker.io/library/python:3.11.14-slim-bookworm
FROM ${PYTHON_IMAGE}
ARG MLFLOW_VERSION=3.18.0
RUN python3 -m venv /opt/mlflow \
    && /opt/mlflow/bin/pip install --no-cache-dir "mlflow==${MLFLOW_VERSION}" psycopg2-binary==2.9.11 \
    && groupadd --gid 10002 mlflow \
    && useradd --uid 10002 --gid 10002 --create-home --shell /usr/sbin/nologin mlflow \
    && install --directory --owner 10002 --group 10002 /artifacts
ENV PATH=/opt/mlflow/bin:$PATH \
    MLFLOW_DISABLE_TELEMETRY=true
USER 10002:10002
WORKDIR /home/mlflow
VOLUME /artifacts
EXPOSE 5000
# --allowed-hosts: the name by which the portal calls it.
CMD ["mlflow", "server", "--host", "0.0.0.0", "--port", "5000", "--workers", "3", "--enable-workspaces", \
     "--artifacts-destination", "/artifacts", "--serve-artifacts", "--allowed-hosts", "mlflow:5000,127.0.0.1:5000"]
