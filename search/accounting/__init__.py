"""What a run has spent: meters are read, joules added up, and added up again from the run's tables.

Trials report joules twice: in the row of each epoch, and in the account of a window when their meter closes
it. Devices report them once more, as counters. `account` records what neither route would preserve through a
kill, `spending` and `unreported` show where joules went, and `reconciliation` checks the tables against each
other.
"""
