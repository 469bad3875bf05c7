"""The history of the gateway's schema."""
