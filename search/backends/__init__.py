"""Backends execute a run: on Ray, in this process, or in virtual time. The run decides; backends do not."""
