"""The Ray side of a search: a session, warm workers, and the adapter to Ray Tune's controller."""
