"""Every query, and nothing else."""
