#!/usr/bin/env bash
# django-unfold: a text with a point in its settings, such as the address of a stylesheet in STYLES, is taken for the name
# of a Python function. Every page of the admin tries to import it, again each time: Python searches sys.path for a module
# of this name and does not remember that there is none. A function that returns the address is called at once.
#
# Observed (django-unfold 0.91.0, Django 5.2.19), for STYLES with one stylesheet, while three sign-in pages are drawn:
#   the address as a text: 3 searches for the module "/static/own"
#   the address from a function: 0 searches for the module "/static/own"
#
# Needs Python 3.11+. Installs pinned packages in a temporary folder.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check django-unfold==0.91.0 django==5.2.19
cat > "$folder/observe.py" <<'PYTHON'
import sys

import django
from django.conf import settings
from django.urls import path

STYLES = []
settings.configure(
    SECRET_KEY="not secret",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    STATIC_URL="/static/",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    INSTALLED_APPS=[
        *("unfold", "django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes"),
        *("django.contrib.sessions", "django.contrib.messages", "django.contrib.staticfiles"),
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ]
            },
        }
    ],
    UNFOLD={"STYLES": STYLES},
)
django.setup()
from django.contrib import admin
from django.test import Client

urlpatterns = [path("admin/", admin.site.urls)]


class Searches:
    """Notes for which modules Python searches, and finds none."""

    names = []

    def find_spec(self, name, path=None, target=None):
        self.names.append(name)
        return None


sys.meta_path.insert(0, Searches())
for words, style, count in (
    ("as a text", "/static/own.css", 3),
    ("from a function", lambda request: "/static/own.css", 0),
):
    STYLES[:] = [style]
    assert b"/static/own.css" in Client().get("/admin/login/").content  # loads what any page needs
    Searches.names.clear()
    for _ in range(3):
        Client().get("/admin/login/")
    found = Searches.names.count("/static/own")
    print(f'the address {words}: {found} searches for the module "/static/own"')
    assert found == count, "the behaviour has changed"
PYTHON
"$folder/venv/bin/python" "$folder/observe.py"
