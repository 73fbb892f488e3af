"""What one of the web, the API and the commands can do, the others can too, or this says why not.

A page, a field that a page edits, an address of the API or a command that is not in the table of capabilities.py fails
here: whoever adds one decides what the other two are to do.
"""

import re

import pytest
from django.contrib import admin
from django.core.management import get_commands, load_command_class
from django.http import HttpRequest
from django.urls import get_resolver

from keys.models import User
from portal.api.schema import schema
from tests.portal.api.capabilities import CAPABILITIES, OTHER, OTHER_OPERATIONS, Can

API = "api/v1/"


def addresses(resolver=None, prefix: str = "", space: str = ""):
    """Every address of the portal, with its name, if it has one."""
    for pattern in (resolver or get_resolver()).url_patterns:
        path = prefix + str(pattern.pattern)
        if hasattr(pattern, "url_patterns"):
            yield from addresses(pattern, path, pattern.namespace or space)
        else:
            yield path, pattern.name and (f"{space}:{pattern.name}" if space else pattern.name)


def pages() -> set[str]:
    return {name for path, name in addresses() if name and not path.startswith(API)} | edited()


def edited() -> set[str]:
    """The fields that a superuser edits by the admin's generic forms."""
    request = HttpRequest()
    request.user = User(is_staff=True, is_superuser=True)
    return {
        f"admin:{model._meta.app_label}_{model._meta.model_name}_change.{name}"
        for model, pages in admin.site._registry.items()
        if pages.has_change_permission(request)
        for name, field in pages.get_form(request, model(), change=True).base_fields.items()
        if not field.disabled
    }


def operations() -> set[str]:
    """Those of the schema by their ids, addresses beside it as they are."""
    paths = schema()["paths"]
    described = {operation["operationId"] for methods in paths.values() for operation in methods.values()}
    there = {
        re.sub(r"<str:(\w+)>", r"{\1}", path).rstrip("/") for path, _ in addresses() if path.startswith(API)
    }
    return described | (there - {path.strip("/") for path in paths})


def commands() -> set[str]:
    """The portal's own."""
    return {name for name, app in get_commands().items() if app in ("keys", "proxy", "portal")}


def table(side: str) -> set[str]:
    return {name for can in CAPABILITIES.values() for name in getattr(can, side).split()}


def options(can: Can):
    """What the row asks of commands: each with the options that follow it."""
    for command in re.findall(r"\w+(?: --\S+)*", can.command):
        name, *given = command.split()
        yield name, given


def taken(command: str) -> set[str]:
    parser = load_command_class(get_commands()[command], command).create_parser("manage.py", command)
    return {option for action in parser._actions for option in action.option_strings}


def test_every_page_and_field_is_in_the_table_or_another():
    assert pages() == table("web") | {*OTHER.split()}
    assert table("web") & {*OTHER.split()} == set()


def test_every_operation_of_the_api_is_in_the_table():
    assert operations() == table("api") | OTHER_OPERATIONS


def test_every_command_is_in_the_table():
    assert commands() == {name for can in CAPABILITIES.values() for name, _ in options(can)}


@pytest.mark.parametrize("name", CAPABILITIES)
def test_commands_take_the_options_that_the_table_names(name):
    for command, given in options(CAPABILITIES[name]):
        assert {*given} <= taken(command)


def test_programs_read_every_command_but_those_that_start_or_print_files():
    without = {command for command in commands() if "--json" not in taken(command)}
    assert without == {"up", "mlflow_table", "leak_patterns"}


@pytest.mark.parametrize("name", CAPABILITIES)
def test_what_one_can_do_the_others_can_or_the_table_says_why_not(name):
    can = CAPABILITIES[name]

    assert bool(can.because) == (not (can.web and can.api and can.command)), name
