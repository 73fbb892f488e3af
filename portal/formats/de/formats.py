"""German formats of pages. What forms read and write stays as browsers have it."""

DATE_FORMAT = "d.m.Y"
TIME_FORMAT = r"H:i \U\T\C"
DATETIME_FORMAT = r"d.m.Y, H:i \U\T\C"
EXACT_DATETIME_FORMAT = r"d.m.Y, H:i:s \U\T\C"
YEAR_MONTH_FORMAT = "m/Y"
DATE_INPUT_FORMATS = ["%Y-%m-%d"]
DATETIME_INPUT_FORMATS = ["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M"]
