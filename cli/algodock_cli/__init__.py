"""The `algodock` command: the stack on this machine, and the client verbs that talk to a gateway."""
