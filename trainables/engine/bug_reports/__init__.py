"""Bug reports, the source files that were changed for them, and what is known of each pair. No model here."""
