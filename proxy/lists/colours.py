"""The colours of badges, with the meanings of `keys.lists.colours`. Pure."""

STATUS_COLOURS = {1: "info", 2: "success", 3: "info", 4: "warning", 5: "danger"}  # by a status's first digit
OUTCOME_COLOURS = {  # by a registration's outcome
    "pending": "info",
    "done": "success",
    "refused_by_mlflow": "warning",
    "not_done": "warning",
    "unknown": "danger",
    "imported": "info",
}
RULES_COLOURS = {  # by the state of a version's tags, or its quarantine
    "complete": "success",
    "missing": "warning",
    "malformed": "danger",
    "quarantined": "danger",
}
