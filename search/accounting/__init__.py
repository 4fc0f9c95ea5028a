"""What a run has spent: its meters asked, joules added up, and re-added from its tables."""
