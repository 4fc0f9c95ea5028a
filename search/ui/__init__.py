"""The pages of all runs of a folder, live in a browser on this machine: `jouletune ui`. It reads and writes
nothing of a run but what `report` reads."""
