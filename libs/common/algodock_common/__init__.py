"""What two or more services of AlgoDock need, and nothing else."""
