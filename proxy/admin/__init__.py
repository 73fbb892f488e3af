"""The admin's pages about calls, usage, owners, registrations, publications, incidents; verification of the ledger."""

from proxy.admin import calls as calls
from proxy.admin import owners as owners
from proxy.admin import registrations as registrations
