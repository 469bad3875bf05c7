"""The Alembic history of the schema ``gitea_sync``."""
