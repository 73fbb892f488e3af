"""`manage.py issue_key`, `list_keys` and `revoke_key`: what they print, and how they say no."""

import json
import re
from datetime import datetime, timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils.timezone import now

from keys.credentials import tokens
from keys.models import ApiKey, User

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]


@pytest.fixture
def run(capsys):
    """Run a command; returns what it wrote to standard output and standard error."""

    def command(*arguments: str) -> tuple[str, str]:
        call_command(*arguments)
        captured = capsys.readouterr()
        return captured.out, captured.err

    return command


def issue(run, *options: str, user: str = "alice", name: str = "training") -> dict:
    return json.loads(run("issue_key", "--user", user, "--name", name, "--json", *options)[0])


def test_issuing_prints_the_key_alone_so_that_a_shell_can_take_it(run):
    out, err = run("issue_key", "--user", "alice", "--name", "training")

    secret = out.strip()
    assert out == f"{secret}\n"
    assert tokens.parse(secret).environment == "live"
    key = ApiKey.objects.get()
    assert err == (
        f"Key {key.public_id} “training” of alice (does not expire). "
        "It is shown only now; store it where you keep secrets. "
        "The user alice did not exist and was created.\n"
    )
    assert secret not in err


def test_the_success_line_says_that_the_user_was_made(run):
    words = "The user alice did not exist and was created."
    assert words in run("issue_key", "--user", "alice", "--name", "training")[1]
    assert words not in run("issue_key", "--user", "alice", "--name", "other")[1]


def test_issuing_prints_an_object_for_programs(run):
    issued = issue(run, "--expires-in", "90d")
    key = ApiKey.objects.get()

    assert {"id", "key", "user", "user_id", "scopes", "expires_at"} <= set(issued)
    assert (issued["id"], issued["user"], issued["user_id"]) == (key.public_id, "alice", key.owner.public_id)
    assert issued["scopes"] == key.scopes
    assert datetime.fromisoformat(issued["expires_at"]) == key.expires_at
    assert tokens.parse(issued["key"]).last4 == key.last4


def test_the_user_is_made_once_and_cannot_sign_in(run):
    issue(run)
    issue(run, name="other")

    user = User.objects.get()
    assert not user.has_usable_password()
    assert (user.is_staff, user.is_superuser) == (False, False)
    assert user.api_keys.count() == 2


def test_a_test_key_needs_a_test_registry(run):
    with pytest.raises(CommandError, match="MLFLOW_TEST_URL is not set"):
        issue(run, "--environment", "test")
    assert not User.objects.exists()


def test_every_right_can_be_given(run, settings):
    settings.MLFLOW_TEST_URL = "http://127.0.0.1:9"
    issued = issue(
        run,
        *("--scope", "registry:read", "--scope", "tracking:read"),
        *("--network", "10.0.0.0/8", "--network", "2001:db8::/32"),
        *("--pattern", "alice-*", "--any-owner", "--environment", "test"),
        *("--purpose", " the night's training, on node 7 "),
    )

    assert issued["scopes"] == ["tracking:read", "registry:read"]
    assert issued["networks"] == ["10.0.0.0/8", "2001:db8::/32"]
    assert (issued["patterns"], issued["any_owner"]) == (["alice-*"], True)
    assert issued["purpose"] == "the night's training, on node 7"
    assert issued["key"].startswith("hk_test_")


def test_limits_can_be_given_and_are_listed(run):
    options = ("--requests-per-minute", "60", "--monthly-requests", "1000", "--monthly-bytes", "10G")
    issued = issue(run, *options)
    issue(run, name="without")

    limits = ("requests_per_minute", "monthly_requests", "monthly_bytes")
    assert [issued[name] for name in limits] == [60, 1000, 10 * 2**30]
    without, listed = json.loads(run("list_keys", "--json")[0])
    assert [listed[name] for name in limits] == [60, 1000, 10 * 2**30]
    assert [without[name] for name in limits] == [None, None, None]
    detail = ApiKey.objects.get(name="training").events.get().detail
    assert [detail[name] for name in limits] == [60, 1000, 10 * 2**30]


@pytest.mark.parametrize(("text", "days"), [("30m", 30 / 1440), ("12h", 0.5), ("90d", 90), ("4w", 28)])
def test_an_expiry_is_given_as_a_time_from_now(run, text, days):
    issue(run, "--expires-in", text)
    key = ApiKey.objects.get()

    assert (key.expires_at - key.created_at).total_seconds() == pytest.approx(days * 86_400, abs=5)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--user", "alice", "--name", " "], "--name: give the key a name of 1 to 100 characters"),
        (["--user", "alice", "--name", "x" * 101], "--name: give the key a name of 1 to 100 characters"),
        (["--user", "alice", "--name", "x", "--purpose", "x" * 501], "--purpose: at most 500 characters"),
        (["--user", "a b", "--name", "x"], "--user: a user's name has up to 150 letters"),
        (["--user", "", "--name", "x"], "--user: a user's name has up to 150 letters"),
        (["--user", "usr_0123456789abcdef", "--name", "x"], "--user: A user's name does not begin with usr_"),
        (["--user", "alice", "--name", "x", "--expires-in", "soon"], "--expires-in: “soon” is no time"),
        (["--user", "alice", "--name", "x", "--expires-in", "0d"], "--expires-in: “0d” is no time"),
        (["--user", "alice", "--name", "x", "--expires-in", "-1d"], "--expires-in"),
        (["--user", "alice", "--name", "x", "--environment", "prod"], "--environment"),
        (["--user", "alice", "--name", "x", "--preset", "root"], "--preset"),
        (["--user", "alice", "--name", "x", "--scope", "all"], "unknown scopes all"),
        (["--user", "alice", "--name", "x", "--network", "here"], "“here” is not a network"),
        (["--user", "alice", "--name", "x", "--preset", "full", "--scope", "registry:read"], "not both"),
        (
            ["--user", "alice", "--name", "x", "--requests-per-minute", "0"],
            "requests per minute: a whole number",
        ),
        (["--user", "alice", "--name", "x", "--requests-per-minute", "many"], "--requests-per-minute"),
        (["--user", "alice", "--name", "x", "--monthly-requests", "-5"], "monthly requests: a whole number"),
        (
            ["--user", "alice", "--name", "x", "--monthly-bytes", "much"],
            "--monthly-bytes: “much” is not a size",
        ),
        (["--user", "alice", "--name", "x", "--monthly-bytes", "0"], "monthly bytes: a whole number"),
        (["--user", "alice"], "--name"),
        (["--name", "x"], "--user"),
    ],
)
def test_what_cannot_be_issued_is_said_in_one_line(options, problem):
    with pytest.raises(CommandError) as caught:
        call_command("issue_key", *options)

    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not ApiKey.objects.exists()
    assert not User.objects.exists()


def test_the_user_is_named_by_name_or_id(run):
    public_id = issue(run)["user_id"]

    issued = issue(run, user=public_id, name="other")
    assert (issued["user"], User.objects.count()) == ("alice", 1)
    assert len(json.loads(run("list_keys", "--user", public_id, "--json")[0])) == 2


def test_a_deactivated_user_gets_no_key(run):
    User.objects.create_user("alice", is_active=False)

    with pytest.raises(CommandError, match="deactivated"):
        issue(run)


def test_keys_are_listed_for_people_without_their_secrets(run):
    first, second = issue(run), issue(run, "--expires-in", "90d", user="bob", name="nightly")
    out, _ = run("list_keys")

    lines = out.splitlines()
    assert re.split(r" {2,}", lines[0]) == [
        "id",
        "user",
        "name",
        "masked",
        "state",
        "created_at",
        "expires_at",
        "last_used_at",
    ]
    assert [re.split(r" {2,}", line)[:3] for line in lines[1:]] == [
        [second["id"], "bob", "nightly"],
        [first["id"], "alice", "training"],
    ]
    assert lines[2].endswith("-")
    for issued in (first, second):
        assert issued["masked"] in out
        assert issued["key"][12:34] not in out


def test_keys_are_listed_for_programs_and_by_user(run):
    issue(run), issue(run, user="bob")
    out, _ = run("list_keys", "--json", "--user", "bob")

    [listed] = json.loads(out)
    assert (listed["user"], listed["state"]) == ("bob", "active")
    assert "key" not in listed


def test_keys_are_listed_by_what_the_page_filters_by(run, settings):
    settings.MLFLOW_TEST_URL = "http://127.0.0.1:9"
    issue(run, "--environment", "test", "--expires-in", "40d", name="short")
    issue(run, "--expires-in", "5d", name="shorter")
    issue(run, name="forgotten")
    issue(run, name="used")
    ApiKey.objects.filter(name__in=["forgotten", "used"]).update(created_at=now() - timedelta(days=100))
    ApiKey.objects.filter(name="used").update(last_used_at=now() - timedelta(days=50))

    def names(*options: str) -> list[str]:
        return sorted(key["name"] for key in json.loads(run("list_keys", "--json", *options)[0]))

    assert names("--environment", "test") == ["short"]
    assert names("--expiring", "7d") == ["shorter"]
    assert names("--expiring", "60d") == ["short", "shorter"]
    assert names("--unused") == ["forgotten"]
    assert names("--unused", "30d") == ["forgotten", "used"]
    assert names("--unused", "--environment", "test") == []
    assert run("list_keys", "--expiring", "1h")[0] == "No such keys.\n"
    for option in ("--expiring", "--unused"):
        with pytest.raises(CommandError, match=f"{option}: “soon” is no time"):
            run("list_keys", option, "soon")


def test_an_empty_list_says_what_to_do(run):
    assert run("list_keys")[0].startswith("No keys yet. Issue one: manage.py issue_key")
    assert json.loads(run("list_keys", "--json")[0]) == []


def test_revoking_says_what_was_done_and_what_was_done_already(run):
    issued = issue(run)

    assert run("revoke_key", issued["id"])[0] == f"Key {issued['id']} “training” of alice is revoked.\n"
    assert (
        run("revoke_key", issued["id"])[0] == f"Key {issued['id']} “training” of alice was already revoked.\n"
    )
    assert json.loads(run("revoke_key", issued["id"], "--json")[0])["state"] == "revoked"


def test_revoking_what_is_not_there_says_so():
    with pytest.raises(CommandError, match="there is no key “key_x”; "):
        call_command("revoke_key", "key_x")


def test_rotating_prints_the_new_key_alone(run):
    issued = issue(run)
    out, err = run("rotate_key", issued["id"], "--overlap", "now")

    assert tokens.parse(out.strip()).secret != issued["key"]
    assert "The old one has ended." in err
    rotated = json.loads(run("rotate_key", issued["id"], "--overlap", "1h", "--json")[0])
    assert rotated["state"] == "rotating"
    with pytest.raises(CommandError, match="still works"):
        call_command("rotate_key", issued["id"])
