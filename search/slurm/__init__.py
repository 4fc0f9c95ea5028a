"""A search as a job of Slurm's: the batch script that runs it on an allocation, and its submission."""
