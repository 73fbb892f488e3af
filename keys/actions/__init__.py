"""Actions on keys and users. Each writes the row and its event in one transaction.

The pages, the API and the commands only call these. PostgreSQL announces each change, so that it takes effect in
every process within a second.
"""

from keys.actions.accounts import deactivate as deactivate
from keys.actions.accounts import reactivate as reactivate
from keys.actions.accounts import remove_second_factors as remove_second_factors
from keys.actions.accounts import set_role as set_role
from keys.actions.changing import change as change
from keys.actions.errors import ActionError as ActionError
from keys.actions.errors import NotAllowed as NotAllowed
from keys.actions.history import record_event as record_event
from keys.actions.issuing import import_key as import_key
from keys.actions.issuing import issue as issue
from keys.actions.rights import RIGHTS as RIGHTS
from keys.actions.rights import validate_rights as validate_rights
from keys.actions.rotation import end_old_secret as end_old_secret
from keys.actions.rotation import rotate as rotate
from keys.actions.stopping import pause as pause
from keys.actions.stopping import resume as resume
from keys.actions.stopping import revoke as revoke
