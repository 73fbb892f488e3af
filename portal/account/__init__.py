"""Pages for key holders about their own keys, calls, usage and registrations. The admin pages show everybody's.

Here, and not in keys/ or proxy/, because each page puts keys and calls together. Whatever belongs to another user
is a 404, as if it were not there. What is done to a key is done by `keys.actions`.
"""
