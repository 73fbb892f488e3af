"""What a key or a member of staff may do: scopes, presets, staff groups, permission names."""
