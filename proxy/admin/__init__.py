"""The admin's pages about calls, owners, registrations and incidents."""

from proxy.admin import calls as calls
