"""Tags that MLflow's server reads, what it does then, and whether callers may set them. Pure.

Source: MLflow 3.17.2's server, stores and jobs, and 3.18.0's issue detection. A test compares the table with the tags
that the installed MLflow's server reads.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ServerTag:
    """A tag by its key, or by the start of its key if that ends in `*`. `refused`: no caller may set or delete it."""

    key: str
    effect: str
    refused: bool

    def covers(self, key: str) -> bool:
        """Whether this row is about the tag. Databases may compare keys without regard to case."""
        folded = key.strip().casefold()
        if self.key.endswith("*"):
            return folded.startswith(self.key[:-1].casefold())
        return folded == self.key.casefold()


def refused(key: str, effect: str) -> ServerTag:
    return ServerTag(key=key, effect=effect, refused=True)


def allowed(key: str, effect: str) -> ServerTag:
    return ServerTag(key=key, effect=effect, refused=False)


SERVER_TAGS = (
    # The server starts jobs, or decides what its jobs work on, with its own rights and secrets.
    refused("mlflow.issueDetection.schedule*", "recurring LLM jobs with the server's secrets (from 3.18)"),
    refused("mlflow.trace.archiveNow", "a job that moves all traces of the experiment"),
    refused("mlflow.trace.archivalRetention", "when a job moves the traces of the experiment"),
    refused("mlflow.latestOnlineScoring.*", "which traces LLM judges score again with the server's secrets"),
    # Only on the objects of the call, which the caller owns.
    allowed("mlflow.trace.archivalFailure", "leaves the trace where it is"),
    allowed("mlflow.runName", "renames the run"),
    allowed("mlflow.log-model.history", "the run's list of models, to which log-model appends"),
    allowed("mlflow.modelVersions", "the logged model's list of versions"),
    allowed("mlflow.customView.view*", "counted against a limit on the experiment"),
    allowed("mlflow.traceName", "names the trace"),
    allowed("mlflow.linkedPrompts", "the list of prompts of a trace or run"),
    allowed("mlflow.data.context", "describes a run's dataset"),
    allowed("mlflow.prompt.*", "makes the model or version a prompt, whose source is a placeholder"),
    allowed("_mlflow_*", "details of a prompt"),
    # What the server or its pages set and nothing on the server reads.
    allowed("mlflow.experiment.isGateway", "hides the experiment in MLflow's pages"),
    allowed("mlflow.experiment.source*", "the gateway endpoint to which MLflow's page links"),
    allowed("mlflow.runType", "how MLflow's page shows the run"),
    allowed("mlflow.issueDetection.jobId", "the job that MLflow's page shows"),
    allowed("mlflow.genaiEvaluate.*", "the job and code that MLflow's page shows"),
    allowed("mlflow.user", "who created the object (`proxy.policy.attribution` sets it)"),
)
# The server opens what these tags of a trace point to (mlflow/store/tracking/sqlalchemy_store.py).
LOCATION_TAGS = frozenset(
    {"mlflow.artifactLocation", "mlflow.trace.archiveLocation", "mlflow.trace.spansLocation"}
)


def first_refused(keys: Iterable[str]) -> tuple[str, ServerTag] | None:
    """The first key of a tag that no caller may set, and its row."""
    return next(((key, tag) for key in keys for tag in SERVER_TAGS if tag.refused and tag.covers(key)), None)
