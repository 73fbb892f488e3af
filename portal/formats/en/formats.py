"""As `keys.formatting.moments` writes them."""

DATE_FORMAT = "Y-m-d"
TIME_FORMAT = r"H:i \U\T\C"
DATETIME_FORMAT = r"Y-m-d H:i \U\T\C"
