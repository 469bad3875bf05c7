"""The verbs for the platform on this machine: each reads its options, asks the stack and prints."""
