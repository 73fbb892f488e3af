"""The admin's pages about organisations."""

from keys.admin.organisations import organisations as organisations
from keys.admin.organisations import trusts as trusts
