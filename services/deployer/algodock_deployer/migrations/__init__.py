"""The deployer's schema, step by step."""
