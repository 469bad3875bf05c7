"""The outside as the runner sees it: each part a Protocol, a real client and a fake."""
