"""Japanese formats of pages. What forms read and write stays as browsers have it."""

DATE_FORMAT = "Y/m/d"
TIME_FORMAT = r"H:i \U\T\C"
DATETIME_FORMAT = r"Y/m/d H:i \U\T\C"
EXACT_DATETIME_FORMAT = r"Y/m/d H:i:s \U\T\C"
YEAR_MONTH_FORMAT = "Y/m"
NUMBER_GROUPING = 3
DATE_INPUT_FORMATS = ["%Y-%m-%d"]
DATETIME_INPUT_FORMATS = ["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M"]
