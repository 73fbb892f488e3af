"""Organisations as their own people use them: invitations, service users, keys, and the API about organisations."""
