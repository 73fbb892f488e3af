"""The admin's pages about organisations."""

from keys.admin.organisations import organisations as organisations
