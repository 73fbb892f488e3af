"""The table of steps, and the loop that runs them."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from django.conf import settings

from keys.credentials import tokens
from portal.doctor import network_steps, read_steps, write_steps
from portal.doctor.context import Context
from portal.doctor.outcomes import FAILED, OK, SKIPPED, Failed, Result, Skipped


@dataclass(frozen=True)
class Step:
    name: str
    action: Callable[[Context], str]
    needs: tuple[str, ...] = ()
    writes: bool = False


STEPS = (
    Step("address", network_steps.check_address),
    Step("DNS", network_steps.resolve_name, ("address",)),
    Step("TCP", network_steps.open_connection, ("DNS",)),
    Step("TLS", network_steps.check_tls, ("TCP",)),
    Step("prefix", network_steps.find_portal, ("TLS",)),
    Step("health", network_steps.check_liveness, ("prefix",)),
    Step("MLflow", network_steps.check_mlflow, ("prefix",)),
    Step("without a key", read_steps.call_without_key, ("prefix",)),
    Step("key", read_steps.call_with_key, ("prefix",)),
    Step("scopes", read_steps.check_scopes, ("key", "MLflow")),
    Step("JSON", read_steps.compare_reads, ("key", "MLflow")),
    Step("run", write_steps.create_run, ("key", "MLflow"), writes=True),
    Step("artifact PUT", write_steps.upload, ("run",), writes=True),
    Step("artifact GET", write_steps.download, ("artifact PUT",), writes=True),
    Step("artifact Range", write_steps.download_range, ("artifact PUT",), writes=True),
    Step("model", write_steps.register_model, ("key", "MLflow"), writes=True),
    Step("version", write_steps.register_version, ("run", "model"), writes=True),
    Step("clean up", write_steps.clean_up, ("key", "MLflow"), writes=True),
    Step("X-Request-ID", read_steps.check_request_ids, ("prefix",)),
    Step("clock", read_steps.compare_clocks, ("prefix",)),
)
TIME_STAMPS = Step("time-stamps", read_steps.ask_time_stamp_authority)


def run_steps(context: Context) -> Iterator[Result]:
    """Run the steps in order; created objects are deleted even if the caller stops early."""
    blocked: dict[str, str] = {}  # step -> the failed step that prevents it
    try:
        for step in (*STEPS, TIME_STAMPS) if settings.TIMESTAMP_URL else STEPS:
            root = next((blocked[name] for name in step.needs if name in blocked), "")
            result = run_step(step, context, root)
            if root or result.verdict == FAILED:
                blocked[step.name] = root or step.name
            yield result
    finally:
        if context.created:
            with contextlib.suppress(Failed, Skipped):
                write_steps.clean_up(context)
        context.close()


def run_step(step: Step, context: Context, root: str) -> Result:
    """Run one step; its result never contains the key."""
    started = time.perf_counter()
    context.warnings.clear()
    advice = ""
    try:
        if root:
            raise Skipped(f"because “{root}” failed")
        if step.writes and not context.write:
            raise Skipped("only with --write")
        verdict, detail = OK, step.action(context)
    except Skipped as skipped:
        verdict, detail = SKIPPED, str(skipped)
    except Failed as failed:
        verdict, detail, advice = FAILED, failed.why, failed.advice
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        verdict, detail = (
            FAILED,
            f"The response does not have the form of MLflow's ({type(error).__name__}).",
        )
    return Result(
        step=step.name,
        verdict=verdict,
        detail=redact(detail, context.key),
        advice=redact(advice, context.key),
        warnings=tuple(redact(warning, context.key) for warning in context.warnings),
        ms=round((time.perf_counter() - started) * 1000, 1),
    )


def redact(text: str, key: str) -> str:
    """The text without the key."""
    return tokens.hide(text.replace(key, "(your key)") if key else text)
