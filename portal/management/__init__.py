"""What the commands of the portal itself share."""
