"""The permissions that pages, the API and commands check, and what each allows. Pure.

They are Django's own, which `migrate` makes; those of `proxy` are only named here. A tuple means that one of its
permissions is enough.
"""

VIEW_KEY = "keys.view_apikey"
ADD_KEY = "keys.add_apikey"
CHANGE_KEY = "keys.change_apikey"
VIEW_KEY_EVENT = "keys.view_keyevent"
VIEW_USER = "keys.view_user"
ADD_USER = "keys.add_user"
CHANGE_USER = "keys.change_user"
VIEW_ORGANISATION = "keys.view_organisation"
ADD_ORGANISATION = "keys.add_organisation"
CHANGE_ORGANISATION = "keys.change_organisation"
VIEW_CALL = "proxy.view_call"
VIEW_CALL_TOTAL = "proxy.view_calltotal"
VIEW_KEYLESS_ATTEMPT = "proxy.view_keylessattempt"
VIEW_REGISTRATION = "proxy.view_registration"
VIEW_OWNER = "proxy.view_owner"
CHANGE_OWNER = "proxy.change_owner"

SEE_KEYS = (VIEW_KEY, CHANGE_KEY)
SEE_USERS = (VIEW_USER, CHANGE_USER)
SEE_ORGANISATIONS = (VIEW_ORGANISATION, CHANGE_ORGANISATION)
SEE_OWNERS = (VIEW_OWNER, CHANGE_OWNER)
SEE_TRAFFIC = (VIEW_CALL_TOTAL, VIEW_CALL)
SEE_ATTEMPTS = (VIEW_KEYLESS_ATTEMPT, VIEW_CALL)
SEE_HEALTH = VIEW_CALL_TOTAL

# By action on a key, all of them. A new secret is as good as a new key: to rotate takes the right to issue, too.
KEY_ACTIONS = {
    "rights": (CHANGE_KEY,),
    "pause": (CHANGE_KEY,),
    "resume": (CHANGE_KEY,),
    "rotate": (CHANGE_KEY, ADD_KEY),
    "end_old_secret": (CHANGE_KEY,),
    "revoke": (CHANGE_KEY,),
}

# By the kind of a holder's request, all of what its approval takes.
REQUESTS = {"new": (ADD_KEY,), "renewal": (CHANGE_KEY,), "scope": (CHANGE_KEY,)}

# By codename, what a user's page offers. No other permission means anything here.
DESCRIPTIONS = {
    "view_apikey": "See keys, their history, and try what they may do",
    "view_keyevent": "See what was done to all keys, by whom",
    "add_apikey": "Issue keys",
    "change_apikey": "Change, pause and revoke keys; rotate them, if issuing is allowed too",
    "view_call": "See everybody's calls",
    "view_registration": "See who registered what",
    "view_owner": "See who owns what",
    "change_owner": "Hand over what users own, and share experiments",
    "view_user": "See users",
    "add_user": "Add users",
    "change_user": "Change users who are not staff",
    "view_organisation": "See organisations and their members",
    "add_organisation": "Create organisations",
    "change_organisation": "Change organisations, their limits and members, and close them",
}
