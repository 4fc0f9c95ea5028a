"""The Ray side of a search: a session, warm workers, and the bridge to Ray Tune's controller."""
