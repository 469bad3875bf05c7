"""The verbs that talk to a platform, here or elsewhere, through its gateway and nothing else."""
