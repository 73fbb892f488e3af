"""The programs that `make integrations` tries: packages, script, and what the portal must have afterwards."""

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.field.environments import Environment, Step, variables

MLFLOW = "mlflow==3.17.2"
Command = Callable[[Path, Environment, dict[str, str]], tuple[int, str]]


@dataclass(frozen=True, kw_only=True)
class Integration:
    """One program. `experiment` names it in PROGRAMS, its user and its experiment."""

    name: str
    experiment: str
    script: str
    packages: tuple[Step, ...]
    version_of: str  # a distribution; "": the script's own
    runs: int = 0
    traces: int = 0
    versions: int = 0
    model: str = ""
    metrics: tuple[str, ...] = ()
    params: tuple[str, ...] = ()
    artifacts: tuple[str, ...] = ()
    needs_experiment: bool = False
    command: Command | None = None
    cannot_run: Callable[[], str] = lambda: ""

    def version(self, where: Environment) -> str:
        return where.versions().get(self.version_of, "") if self.version_of else ""


def install(*packages: str) -> tuple[Step, ...]:
    return (("install", *packages),)


def run(command: list[str], settings: dict[str, str], folder: Path) -> tuple[int, str]:
    done = subprocess.run(
        command,
        cwd=folder,
        env=variables(folder) | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    return done.returncode, done.stdout


def node(script: Path, where: Environment, settings: dict[str, str]) -> tuple[int, str]:
    """The script with the package `mlflow` of npm, which is installed in the environment's folder."""
    if not (where.folder / "node_modules" / "mlflow").exists():
        quiet = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(where.folder)]
        run([*quiet, "mlflow@2.0.7"], {"HOME": str(where.folder)}, where.folder)
    copy = shutil.copy(script, where.folder)
    return run(["node", str(copy)], settings, where.folder)


def program(name: str) -> Command:
    """A script that this program runs, with what is installed for it."""
    return lambda script, where, settings: run([name, str(script)], settings, where.folder)


def without(program: str, what: str) -> Callable[[], str]:
    return lambda: "" if shutil.which(program) else what


def without_r() -> str:
    if not shutil.which("Rscript"):
        return "Rscript is not installed"
    done = subprocess.run(["Rscript", "-e", "library(mlflow)"], capture_output=True, check=False)
    return "the package mlflow of CRAN is not installed" if done.returncode else ""


def without_java() -> str:
    """Its jar and those that it needs are downloaded by Maven; their folder is the class path."""
    if not os.environ.get("MLFLOW_JARS"):
        return "MLFLOW_JARS does not name a folder with org.mlflow:mlflow-client and the jars that it needs"
    return "" if shutil.which("java") else "java is not installed"


def java(script: Path, where: Environment, settings: dict[str, str]) -> tuple[int, str]:
    return run(["java", "-cp", os.environ["MLFLOW_JARS"] + "/*", str(script)], settings, where.folder)


INTEGRATIONS = (
    Integration(
        name="scikit-learn",
        experiment="sklearn",
        script="scikit_learn.py",
        packages=install(MLFLOW, "scikit-learn"),
        version_of="scikit-learn",
        runs=1,
        metrics=("training_accuracy_score",),
        params=("solver",),
        artifacts=("estimator.html",),
    ),
    Integration(
        name="XGBoost",
        experiment="xgboost",
        script="xgboost_autolog.py",
        packages=install(MLFLOW, "xgboost-cpu"),
        version_of="xgboost-cpu",
        runs=1,
        metrics=("train-rmse",),
        params=("max_depth",),
        artifacts=("feature_importance_weight.json",),
    ),
    Integration(
        name="transformers",
        experiment="transformers",
        script="transformers_trainer.py",
        packages=install(MLFLOW, "transformers", "accelerate", "torch"),
        version_of="transformers",
        runs=1,
        metrics=("train_loss",),
        params=("max_steps",),
    ),
    Integration(
        name="Lightning",
        experiment="lightning",
        script="lightning_logger.py",
        packages=install(MLFLOW, "pytorch-lightning", "torch"),
        version_of="pytorch-lightning",
        runs=1,
        metrics=("loss",),
        params=("width",),
        artifacts=("epoch=0-step=4",),
    ),
    Integration(
        name="Optuna",
        experiment="optuna",
        script="optuna_callback.py",
        packages=install(MLFLOW, "optuna", "optuna-integration"),
        version_of="optuna",
        runs=3,
        metrics=("loss",),
        params=("x",),
    ),
    Integration(
        name="Ray Tune",
        experiment="ray",
        script="ray_tune.py",
        packages=install(MLFLOW, "ray[tune]"),
        version_of="ray",
        runs=2,
        metrics=("loss",),
        params=("x",),
    ),
    Integration(
        name="Kedro (kedro-mlflow)",
        experiment="kedro",
        script="kedro_pipeline.py",
        packages=install("kedro", "kedro-mlflow", "kedro-datasets"),
        version_of="kedro-mlflow",
        runs=1,
        metrics=("metrics.loss",),
        params=("depth",),
        artifacts=("report.txt",),
    ),
    Integration(
        name="Dagster",
        experiment="dagster",
        script="dagster_resource.py",
        packages=install("dagster-mlflow", MLFLOW),
        version_of="dagster-mlflow",
        runs=1,
        metrics=("loss",),
        params=("depth",),
    ),
    Integration(
        name="ZenML",
        experiment="zenml_pipeline",
        script="zenml_tracker.py",
        packages=install("zenml[local]", MLFLOW),
        version_of="zenml",
        runs=1,
        metrics=("loss",),
        params=("depth",),
    ),
    Integration(
        name="BentoML",
        experiment="bentoml",
        script="bentoml_import.py",
        packages=install(MLFLOW, "bentoml"),
        version_of="bentoml",
        runs=1,
        versions=1,
        model="bentoml",
    ),
    Integration(
        name="MLServer",
        experiment="mlserver",
        script="mlserver_runtime.py",
        packages=install("mlserver", "mlserver-mlflow"),
        version_of="mlserver-mlflow",
        runs=1,
        versions=1,
        model="mlserver",
    ),
    Integration(
        name="LiteLLM",
        experiment="litellm",
        script="litellm_callback.py",
        packages=install(MLFLOW, "litellm"),
        version_of="litellm",
        traces=1,
    ),
    Integration(
        name="OpenTelemetry",
        experiment="opentelemetry",
        script="opentelemetry_exporter.py",
        packages=install("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http"),
        version_of="opentelemetry-exporter-otlp-proto-http",
        traces=1,
        needs_experiment=True,
    ),
    Integration(
        name="mlflow-export-import",
        experiment="export-import",
        script="export_import.py",
        packages=install("mlflow-export-import", "tabulate", MLFLOW),
        version_of="mlflow-export-import",
        runs=1,
        metrics=("loss",),
        artifacts=("notes",),
    ),
    Integration(
        name="mlflow-tracing alone",
        experiment="tracing",
        script="tracing_alone.py",
        packages=install("mlflow-tracing==3.17.2"),
        version_of="mlflow-tracing",
        traces=1,
    ),
    Integration(
        name="npm: mlflow",
        experiment="npm",
        script="npm_client.js",
        packages=(),
        version_of="",
        runs=1,
        metrics=("loss",),
        params=("depth",),
        needs_experiment=True,
        command=node,
        cannot_run=without("npm", "npm is not installed"),
    ),
    Integration(
        name="R: mlflow",
        experiment="r",
        script="r_client.R",
        packages=(),
        version_of="",
        runs=1,
        metrics=("loss",),
        params=("depth",),
        command=program("Rscript"),
        cannot_run=without_r,
    ),
    Integration(
        name="Java: mlflow-client",
        experiment="java",
        script="JavaClient.java",
        packages=(),
        version_of="",
        runs=1,
        metrics=("loss",),
        params=("depth",),
        needs_experiment=True,
        command=java,
        cannot_run=without_java,
    ),
)
