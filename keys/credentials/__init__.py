"""Who is calling: from a request's headers to the key that it carries, and the keys that this process remembers."""
