"""The table of steps, and the examination that goes through it."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

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


def run_steps(context: Context) -> Iterator[Result]:
    """The steps one by one, in order; what was made is deleted even if the reader stops early."""
    blocked: dict[str, str] = {}  # step -> the failed one because of which it cannot be done
    try:
        for step in STEPS:
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
    """One step's result, with the key taken out of whatever it says."""
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
    except (KeyError, TypeError, AttributeError, IndexError) as nonsense:
        verdict, detail = (
            FAILED,
            f"The answer does not have the form of MLflow's ({type(nonsense).__name__}).",
        )
    return Result(
        step=step.name,
        verdict=verdict,
        detail=redact(detail, context.key),
        advice=redact(advice, context.key),
        warnings=tuple(redact(warning, context.key) for warning in context.warnings),
        ms=round((time.perf_counter() - started) * 1000, 1),
    )


def redact(said: str, key: str) -> str:
    """What is said without the key, whatever repeats it."""
    return tokens.hide(said.replace(key, "(your key)") if key else said)
