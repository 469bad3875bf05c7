"""The registry schema's own history."""
