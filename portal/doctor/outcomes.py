"""How a step ends: it passes, it fails, or it is skipped."""

from dataclasses import dataclass

OK, FAILED, SKIPPED = "ok", "failed", "skipped"


class Failed(Exception):
    """A step that failed: an explanation and advice."""

    def __init__(self, why: str, advice: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.advice = advice


class Skipped(Exception):
    """A step that does not apply."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """A step's verdict (`ok`, `failed` or `skipped`), detail and advice."""

    step: str
    verdict: str
    detail: str
    advice: str = ""
    warnings: tuple[str, ...] = ()
    ms: float = 0.0
