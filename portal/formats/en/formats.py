"""English formats of pages; `keys.formatting.moments` writes times in the same way for commands and files."""

DATE_FORMAT = "Y-m-d"
TIME_FORMAT = r"H:i \U\T\C"
DATETIME_FORMAT = r"Y-m-d H:i \U\T\C"
EXACT_DATETIME_FORMAT = r"Y-m-d H:i:s \U\T\C"
YEAR_MONTH_FORMAT = "Y-m"
