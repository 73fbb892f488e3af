"""Ids that people and other services see, in place of the rows' numbers."""

from keys.formatting.base62 import random_base62

LENGTH = 16  # random characters after the prefix


def new_user_id() -> str:
    return "usr_" + random_base62(LENGTH)


def new_key_id() -> str:
    return "key_" + random_base62(LENGTH)


def new_prepared_key_id() -> str:
    return "prep_" + random_base62(LENGTH)


def new_key_request_id() -> str:
    return "kreq_" + random_base62(LENGTH)


def new_directory_group_id() -> str:
    return "grp_" + random_base62(LENGTH)
