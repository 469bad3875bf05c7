"""What the gateway does: check keys, know algorithms, admit calls and keep book of them, command services."""
