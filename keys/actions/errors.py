"""Why an action was not done."""


class ActionError(ValueError):
    """The action is not possible. The message says why, and what to do."""


class NotAllowed(ActionError):
    """The action is possible, but not for this actor."""
