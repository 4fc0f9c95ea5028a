"""A search as a Slurm job: the batch script that runs it on an allocation, and its submission."""
