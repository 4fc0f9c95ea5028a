"""How a run is shown: console, forecast and summary in words, charts, and its page."""
