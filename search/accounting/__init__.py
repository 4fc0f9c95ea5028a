"""What a run has spent: its meters asked, joules added up, and added up again from its tables.

Trials report joules twice: in the row of each epoch, and in the account of a window that their meter closes.
Devices report them once more, as counters. `account` writes down what neither route would keep through a
kill, `spending` and `unreported` show where joules went, `reconciliation` holds the tables together.
"""
