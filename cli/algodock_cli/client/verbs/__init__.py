"""One module a verb: it reads its options, asks the gateway and prints."""
