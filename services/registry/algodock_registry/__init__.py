"""The registry: which instance of which algorithm listens where, and whether calls may go there."""
