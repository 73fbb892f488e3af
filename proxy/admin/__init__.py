"""The admin's pages about calls, owners, registrations and incidents."""

from proxy.admin import calls as calls
from proxy.admin import owners as owners
from proxy.admin import registrations as registrations
