"""What a training costs in joules: counters, the meter over them, and what the numbers are worth.

Import from the modules: most of the program reads joules (`reading`, `summary`) and opens no meter.
"""
