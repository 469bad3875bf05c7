"""The runner's tables and all its SQL, split by noun; claim, lease and fence are one module each."""
