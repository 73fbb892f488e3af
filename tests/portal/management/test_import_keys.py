"""`manage.py import_keys`: keys of another system, all of a line or nothing, again and again without harm."""

import json

import pytest
from django.contrib.admin.models import LogEntry
from django.core.management import CommandError, call_command

from keys import actions
from keys.actions import organisations
from keys.credentials import authentication, tokens
from keys.lists.event_words import describe_actor, describe_event
from keys.models import ApiKey, KeyEvent, Membership, User
from keys.refusals import Refusal
from portal.management import key_import
from portal.management.commands import import_keys
from proxy.models import Owner
from tests.keys.people import everything_stored

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]
OLD_PEPPER = "pepper-of-the-old-system-0123456789"


class Killed(BaseException):
    """As a kill is no Exception."""


@pytest.fixture
def run(tmp_path, capsys):
    """Write the lines into a file and import it; returns what was printed."""

    def command(*lines: dict | str, options: tuple[str, ...] = (), name: str = "keys.jsonl") -> str:
        file = tmp_path / name
        texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        file.write_text("\n".join(texts) + "\n")
        try:
            call_command("import_keys", str(file), *options)
        finally:
            file.unlink()  # it has secrets
        return capsys.readouterr().out

    return command


def line(user: str = "max", **fields: object) -> dict:
    return {"user": user, "name": "training", "key": tokens.generate().secret, **fields}


def by_digest(secret: str, pepper: str = OLD_PEPPER, **fields: object) -> dict:
    token = tokens.parse(secret)
    ends = {"prefix": token.prefix, "last4": token.last4}
    return {"user": "max", "name": "nightly", "digest": tokens.digest(token, pepper), **ends, **fields}


def rows() -> list[int]:
    return [model.objects.count() for model in (User, ApiKey, KeyEvent, Membership, Owner, LogEntry)]


def test_a_key_works_with_its_secret_as_in_the_old_system(run):
    organisations.create_organisation(slug="lab")
    row = line(
        email="max@lab.org",
        organisation="lab",
        purpose="every night",
        scopes=["tracking:read", "registry:write"],
        networks=["10.0.0.0/8"],
        patterns=["churn-*"],
        expires_at="2099-01-31",
        models=["churn"],
        experiments=["7", "12"],
    )

    printed = run(row)

    assert printed == (
        "Imported: 1 keys, 1 new users, 1 new members, 3 objects with an owner. Imported before: 0 keys.\n"
    )
    caller = authentication.authenticate({"HTTP_AUTHORIZATION": f"Bearer {row['key']}"})
    key = ApiKey.objects.get()
    assert (caller.key, caller.user.username, caller.user.email) == (key, "max", "max@lab.org")
    assert not caller.user.has_usable_password()
    assert (key.organisation.slug, key.name, key.purpose, key.environment) == (
        "lab",
        "training",
        "every night",
        "live",
    )
    assert key.scopes == ["tracking:read", "registry:write"]
    assert (key.networks, key.patterns) == (["10.0.0.0/8"], ["churn-*"])
    assert key.expires_at.isoformat() == "2099-01-31T00:00:00+00:00"
    assert {
        (owner.kind, owner.name, owner.user, owner.key, owner.organisation) for owner in Owner.objects.all()
    } == {
        (kind, name, caller.user, key, key.organisation)
        for kind, name in (("registered_model", "churn"), ("experiment", "7"), ("experiment", "12"))
    }
    assert Owner.objects.get(name="churn").skeleton != ""
    assert row["key"] not in everything_stored()


def test_the_history_says_that_it_was_imported_and_what_the_user_owns(run):
    run(line(models=["churn"]))

    event = KeyEvent.objects.get()
    assert (event.kind, describe_actor(event)) == ("issued", "command line")
    assert "Imported: yes" in describe_event(event)
    assert event.detail["objects"] == ["registered_model churn"]
    assert ApiKey.objects.get().digest not in json.dumps(event.detail)
    assert LogEntry.objects.get().change_message == "Added with a key of another system. By command line."


def test_a_digest_works_under_the_old_systems_pepper_and_moves_to_the_newest(run, settings):
    secret = tokens.generate().secret
    new = settings.KEY_PEPPERS
    run(by_digest(secret))
    key = ApiKey.objects.get()
    assert (key.prefix, key.last4) == (secret[:12], secret[-4:])
    with pytest.raises(Refusal):
        authentication.authenticate({"HTTP_X_API_KEY": secret})

    settings.KEY_PEPPERS = [*new, OLD_PEPPER]
    assert authentication.authenticate({"HTTP_X_API_KEY": secret}).key == key
    key.refresh_from_db()
    assert key.digest == tokens.digest(tokens.parse(secret), new[0])
    assert run(by_digest(secret)).endswith("Imported before: 1 keys.\n")
    assert ApiKey.objects.count() == 1


def test_a_digest_needs_a_second_pepper_and_the_command_says_so(run, settings, tmp_path, capsys):
    file = tmp_path / "keys.jsonl"
    file.write_text(json.dumps(by_digest(tokens.generate().secret)))
    settings.KEY_PEPPERS = settings.KEY_PEPPERS[:1]
    call_command("import_keys", str(file), "--dry-run")
    assert "KEY_PEPPERS has one pepper only" in capsys.readouterr().err
    settings.KEY_PEPPERS = [*settings.KEY_PEPPERS, OLD_PEPPER]
    call_command("import_keys", str(file), "--dry-run")
    assert capsys.readouterr().err == ""


def test_a_dry_run_counts_and_writes_nothing(run):
    before = rows()

    printed = run(line(models=["churn"]), line("mia"), options=("--dry-run", "--json"))

    assert json.loads(printed) == {
        "keys": 2,
        "users": 2,
        "members": 0,
        "objects": 1,
        "skipped": 0,
        "done": False,
    }
    assert rows() == before


def test_a_second_run_skips_all_lines_even_after_the_key_has_changed(run):
    lines = [line(models=["churn"]), line("mia")]
    run(*lines)
    first, second = ApiKey.objects.order_by("pk")
    actions.rotate(key=first)
    actions.end_old_secret(key=first)
    actions.revoke(key=second)
    before = rows()

    printed = run(*lines, options=("--json",))

    assert json.loads(printed)["skipped"] == 2
    assert rows() == before
    with pytest.raises(Refusal):
        authentication.authenticate({"HTTP_X_API_KEY": lines[0]["key"]})


@pytest.mark.parametrize("step", ["find_or_add_user", "join", "import_key", "assign_unowned"])
def test_a_killed_run_leaves_whole_lines_and_continues(run, monkeypatch, step):
    organisations.create_organisation(slug="lab")
    lines = [line(user, organisation="lab", models=[user]) for user in ("max", "mia", "tom")]
    act, calls = getattr(key_import, step), []

    def kill_in_second_line(*arguments, **options):
        calls.append(step)
        done = act(*arguments, **options)
        if len(calls) == len(lines) + 2:  # after the check of all lines
            raise Killed
        return done

    monkeypatch.setattr(key_import, step, kill_in_second_line)
    with pytest.raises(Killed):
        run(*lines)

    assert [user.username for user in User.objects.order_by("pk")] == ["max"]
    assert [owner.name for owner in Owner.objects.all()] == ["max"]
    assert (ApiKey.objects.count(), KeyEvent.objects.count(), Membership.objects.count()) == (1, 1, 1)

    assert json.loads(run(*lines, options=("--json",))) == {
        "keys": 2,
        "users": 2,
        "members": 2,
        "objects": 2,
        "skipped": 1,
        "done": True,
    }
    assert [owner.name for owner in Owner.objects.order_by("pk")] == ["max", "mia", "tom"]


def test_csv_has_a_header_and_lists_with_semicolons(run):
    first, second = line(), by_digest(tokens.generate().secret)
    columns = "user,name,scopes,key,digest,prefix,last4,experiments"
    empty = {**dict.fromkeys(columns.split(","), ""), "scopes": "registry:read; tracking:read"}
    texts = [",".join({**empty, **each}.values()) for each in (first, {**second, "experiments": "3;4"})]

    run(columns, *texts, name="keys.csv")

    assert [key.digest for key in ApiKey.objects.order_by("pk")][1] == second["digest"]
    assert {tuple(key.scopes) for key in ApiKey.objects.all()} == {("tracking:read", "registry:read")}
    assert {owner.name for owner in Owner.objects.all()} == {"3", "4"}
    assert User.objects.count() == 1


GOOD = tokens.generate().secret
MISTYPED = GOOD[:-1] + ("a" if GOOD[-1] != "a" else "b")


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (line(key=MISTYPED), "key: its checksum does not match. It cannot be taken over: issue a new key"),
        (line(key="s3cret-of-the-old-system"), "followed by 32 letters and digits. It cannot be taken over"),
        (line(key=None), "give key, or digest with prefix and last4"),
        (line(digest="0" * 64), "give key, or digest with prefix and last4, and not both"),
        (by_digest(GOOD, digest="xyz"), "digest: write the HMAC-SHA-256"),
        (
            by_digest(GOOD, prefix="sk_live_1234"),
            "does not begin with hk_live_ or hk_test_: it cannot be taken over",
        ),
        (by_digest(GOOD, last4=""), "last4: write the key's last four characters"),
        (line(organisation="s3cret"), "organisation: no open organisation has this slug; create it first"),
        (line(scopes=["s3cret"]), "scopes: write names of tracking:read"),
        (line(networks=["s3cret"]), "networks: write networks such as 10.1.0.0/16"),
        (line(scopes=[]), "scopes: write names of tracking:read"),
        (line(scopes="tracking:read"), "scopes: write a list of texts"),
        (line(name=7), "name: write a text"),
        (line(name=""), "name: it is missing"),
        (line(name=GOOD), "name: it contains an API key, which belongs into the field key alone"),
        (line(name="n" * 101), "name: it has more than 100 characters"),
        (line(name="a\u202eb"), "name: it contains U+202E"),
        (line(purpose="a\0b"), "purpose: it contains a NUL character"),
        (line("a user"), "user: a user's name has up to 150 letters"),
        (line("usr_1"), "user or email: A user's name does not begin with usr_"),
        (line(email="nowhere"), "user or email: Enter a valid email address"),
        (line("gone"), "user: gone is deactivated; reactivate the account, or remove the line"),
        (line("here", email="s3cret@lab.org"), "email: here has another address here, or none"),
        (line("here"), "here is in several organisations (lab, north); state the key's organisation"),
        (line(expires_at="soon"), "expires_at: write 2027-01-31 (UTC) or"),
        (line(expires_at="2027-01-31T14:30:00"), "expires_at: write 2027-01-31 (UTC) or"),
        (line(expires_at="2020-01-31"), "the expiry lies in the past"),
        (line(experiments=["s3cret"]), "experiments: write their ids, which are numbers"),
        (line(models=["taken"]), "the registered model “taken” belongs to another user, here"),
        (line(key=tokens.generate("test").secret), "there is no test registry"),
        (line(s3cret="s3cret"), "unknown field, at position 4; there are user, email"),
        ('{"name": "s3cret", ', "it is not JSON; write one object on each line"),
        (
            '{"name": "a", "name": "s3cret"}',
            "it is not JSON; write one object on each line, with each field once",
        ),
        ('["s3cret"]', "it is not a JSON object"),
    ],
)
def test_one_wrong_line_is_named_without_its_secret_and_nothing_is_written(run, row, problem):
    for slug in ("lab", "north"):
        organisations.create_organisation(slug=slug)
    here = User.objects.create_user("here")
    User.objects.create_user("gone", is_active=False)
    for organisation in organisations.Organisation.objects.exclude(slug="shared"):
        organisations.add_member(organisation=organisation, user=here)
    Owner.objects.create(environment="live", kind="registered_model", name="taken", user=here)
    before = rows()

    with pytest.raises(CommandError) as refused:
        run(line("mia"), row, line("tom"))

    text = str(refused.value)
    assert text.startswith("Nothing was imported.\nline 2: ")
    assert problem in text
    assert text.count("\n") == 1
    assert "s3cret" not in text
    assert not tokens.holds_key(text)
    assert rows() == before


def test_the_same_key_twice_is_refused_in_whatever_form(run, settings):
    settings.KEY_PEPPERS = [*settings.KEY_PEPPERS, OLD_PEPPER]
    with pytest.raises(CommandError, match=r"line 3: it has the same key as line 1; remove one of the two"):
        run(line(key=GOOD), line("mia"), by_digest(GOOD))
    assert ApiKey.objects.count() == 0


def test_a_key_that_the_portal_issued_is_refused(run):
    key, secret = actions.issue(owner=User.objects.create_user("dora"), name="laptop")
    with pytest.raises(CommandError, match=f"line 1: this key is here already, as {key.public_id} of dora"):
        run(line(key=secret))


def test_every_wrong_line_is_named_up_to_fifty(run):
    with pytest.raises(CommandError) as refused:
        run(*(line(name="") for _ in range(60)))
    texts = str(refused.value).splitlines()
    assert texts[1].startswith("line 1: ")
    assert texts[50].startswith("line 50: ")
    assert texts[51:] == ["… and 10 more."]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"\xff\xfe", "the file is not UTF-8"),
        (b"\n\n", "the file has no lines"),
        (b"max,s3cret\n", "line 1: it names the columns, each once, of user"),
        (b"user,user\n", "line 1: it names the columns, each once, of user"),
        (b'user,name,key\nmax,"a"b,s3cret\n', "line 2: it is not CSV"),
        (b"user,name,key\nmax,s3cret\n", "line 2: it has 2 values, and the first line names 3 columns"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path, content, problem):
    file = tmp_path / "keys.csv"
    file.write_bytes(content)
    with pytest.raises(CommandError) as refused:
        call_command("import_keys", str(file))
    assert problem in str(refused.value)
    assert "s3cret" not in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(CommandError, match=r"No such file or directory: .*none\.csv"):
        call_command("import_keys", str(tmp_path / "none.csv"))


def test_a_line_that_became_impossible_since_the_check_is_named(run, monkeypatch):
    owner, check = User.objects.create_user("here"), key_import.check_lines

    def check_then_lose(lines, **options):
        found = check(lines, **options)
        Owner.objects.create(environment="live", kind="experiment", name="7", user=owner)
        return found

    monkeypatch.setattr(import_keys, "check_lines", check_then_lose)
    with pytest.raises(
        CommandError, match=r"line 2: the experiment “7” belongs to another user, here\. The lines"
    ):
        run(line("max"), line("mia", experiments=["7"]))
    assert [user.username for user in User.objects.order_by("pk")] == ["here", "max"]


def test_what_nobody_owns_is_given_and_what_the_user_owns_stays(run):
    Owner.objects.create(environment="live", kind="experiment", name="7", is_shared=True)
    run(line(experiments=["7"]))
    shared = Owner.objects.get()
    assert (shared.user.username, shared.is_shared) == ("max", True)
    assert "0 objects with an owner" in run(line(experiments=["7"], name="second"))


def test_an_expiry_has_a_zone(run):
    run(line(expires_at="2099-01-31T14:30:00+01:00"))
    assert ApiKey.objects.get().expires_at.isoformat() == "2099-01-31T13:30:00+00:00"
