"""What a call may do: permissions, dangerous input, ownership, attribution, name locks."""
