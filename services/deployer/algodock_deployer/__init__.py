"""The deployer: from a pushed commit to a release that serves."""
