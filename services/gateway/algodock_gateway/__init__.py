"""The gateway: the one service that faces people and programs; everything else is behind it."""
