"""The table of steps, and the examination that goes through it."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from keys.credentials import tokens
from portal.doctor import arrival, reading, writing
from portal.doctor.failures import Failed
from portal.doctor.visit import Skipped, Visit

OK, FAILED, SKIPPED = "ok", "failed", "skipped"


@dataclass(frozen=True, kw_only=True)
class Result:
    """A step's verdict: `ok`, `failed` or `skipped`, what was seen, and what to do about it."""

    step: str
    verdict: str
    detail: str
    advice: str = ""
    warnings: tuple[str, ...] = ()
    ms: float = 0.0


@dataclass(frozen=True)
class Step:
    name: str
    act: Callable[[Visit], str]
    needs: tuple[str, ...] = ()
    writes: bool = False


STEPS = (
    Step("address", arrival.read_address),
    Step("DNS", arrival.resolve, ("address",)),
    Step("TCP", arrival.reach, ("DNS",)),
    Step("TLS", arrival.secure, ("TCP",)),
    Step("prefix", arrival.find_portal, ("TLS",)),
    Step("health", arrival.live, ("prefix",)),
    Step("MLflow", arrival.mlflow_health, ("prefix",)),
    Step("without a key", reading.without_key, ("prefix",)),
    Step("key", reading.with_key, ("prefix",)),
    Step("scopes", reading.may_read, ("key", "MLflow")),
    Step("JSON", reading.round_trip, ("key", "MLflow")),
    Step("run", writing.create_run, ("key", "MLflow"), writes=True),
    Step("artifact PUT", writing.upload, ("run",), writes=True),
    Step("artifact GET", writing.download, ("artifact PUT",), writes=True),
    Step("artifact Range", writing.download_part, ("artifact PUT",), writes=True),
    Step("model", writing.register_model, ("key", "MLflow"), writes=True),
    Step("version", writing.register_version, ("run", "model"), writes=True),
    Step("clean up", writing.clean_up, ("key", "MLflow"), writes=True),
    Step("X-Request-ID", reading.request_ids, ("prefix",)),
    Step("clock", reading.clock, ("prefix",)),
)


def examine(visit: Visit) -> Iterator[Result]:
    """The steps one by one, in order; what was made is deleted even if the reader stops early."""
    blocked: dict[str, str] = {}  # step -> the failed one because of which it cannot be done
    try:
        for step in STEPS:
            root = next((blocked[name] for name in step.needs if name in blocked), "")
            result = take(step, visit, root)
            if root or result.verdict == FAILED:
                blocked[step.name] = root or step.name
            yield result
    finally:
        if visit.made:
            with contextlib.suppress(Failed, Skipped):
                writing.clean_up(visit)
        visit.close()


def take(step: Step, visit: Visit, root: str) -> Result:
    """One step's result, with the key taken out of whatever it says."""
    started = time.perf_counter()
    visit.warnings.clear()
    advice = ""
    try:
        if root:
            raise Skipped(f"because “{root}” failed")
        if step.writes and not visit.write:
            raise Skipped("only with --write")
        verdict, detail = OK, step.act(visit)
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
        detail=hide(detail, visit.key),
        advice=hide(advice, visit.key),
        warnings=tuple(hide(warning, visit.key) for warning in visit.warnings),
        ms=round((time.perf_counter() - started) * 1000, 1),
    )


def hide(said: str, key: str) -> str:
    """What is said without the key, whatever repeats it."""
    return tokens.hide(said.replace(key, "(your key)") if key else said)
