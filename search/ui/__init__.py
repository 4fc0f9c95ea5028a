"""The pages of all runs of a folder, live in a browser on this machine: `jouletune ui`.

Of a run it reads only what `report` reads, and it writes nothing there.
"""
