"""The step of `manage.py doctor` that asks the time-stamping authority."""

from portal.doctor.context import Context
from portal.doctor.steps import run_steps


def test_doctor_says_whether_the_authority_answers(tsa):
    context = Context(url="http://127.0.0.1:9")
    assert list(run_steps(context))[-1].verdict == "ok"
    tsa.answer = (503, b"")

    assert "gave no valid time-stamp: it responded with 503." in list(run_steps(context))[-1].detail
