"""Tests in folders that mirror the source; `support` has what they share."""
