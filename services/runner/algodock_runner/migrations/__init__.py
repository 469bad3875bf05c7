"""The runner's schema, step by step."""
