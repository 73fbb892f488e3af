"""Users and groups from a directory (SCIM), and the rules that turn groups into roles."""
