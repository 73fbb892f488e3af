"""How a text writes its words, numbers, sizes and times: in English, or in the language of the page that shows it."""

import datetime
from collections.abc import Callable
from dataclasses import dataclass

from keys.formatting.moments import format_time
from keys.formatting.sizes import format_size


@dataclass(frozen=True, kw_only=True)
class Writing:
    translate: Callable[[str], str] = str
    number: Callable[[int], str] = "{:,}".format
    size: Callable[[int], str] = format_size
    time: Callable[[datetime.datetime], str] = format_time


ENGLISH = Writing()
