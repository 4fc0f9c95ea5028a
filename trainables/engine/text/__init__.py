"""Source code as data: functions from files or Python's own library, as token ids, in batches."""
