"""The admin's pages about keys, their events, users and organisations."""

from keys.admin import events as events
from keys.admin import keys as keys
from keys.admin import organisations as organisations
from keys.admin import users as users
