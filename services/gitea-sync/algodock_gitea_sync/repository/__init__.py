"""The tables of gitea-sync and all its SQL."""
