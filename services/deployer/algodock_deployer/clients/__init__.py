"""The outside as the deployer sees it: each a Protocol, with a real one and a fake that meet the same contract."""
