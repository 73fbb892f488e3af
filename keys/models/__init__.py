"""Users, their API keys, the history of each key, and alerts: the rows that keys/ writes."""

from keys.models.alerts import Alert as Alert
from keys.models.alerts import AlertQuerySet as AlertQuerySet
from keys.models.alerts import KeyNetwork as KeyNetwork
from keys.models.api_keys import LIMITS as LIMITS
from keys.models.api_keys import ApiKey as ApiKey
from keys.models.api_keys import ApiKeyQuerySet as ApiKeyQuerySet
from keys.models.api_keys import default_scopes as default_scopes
from keys.models.changes import CHANNEL as CHANNEL
from keys.models.events import LEAK_REASON as LEAK_REASON
from keys.models.events import KeyEvent as KeyEvent
from keys.models.events import KeyEventQuerySet as KeyEventQuerySet
from keys.models.idempotent_requests import IdempotentRequest as IdempotentRequest
from keys.models.invitations import Invitation as Invitation
from keys.models.key_requests import KeyRequest as KeyRequest
from keys.models.key_requests import KeyRequestQuerySet as KeyRequestQuerySet
from keys.models.prepared_keys import PreparedKey as PreparedKey
from keys.models.prepared_keys import PreparedKeyQuerySet as PreparedKeyQuerySet
from keys.models.public_ids import new_key_id as new_key_id
from keys.models.public_ids import new_user_id as new_user_id
from keys.models.users import User as User
from keys.models.users import UserManager as UserManager
from keys.models.users import users_in_role as users_in_role
from keys.models.users import users_matching as users_matching
