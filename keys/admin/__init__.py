"""The admin's pages about keys, their events and users."""

from keys.admin import events as events
from keys.admin import keys as keys
from keys.admin import users as users
