"""How many epochs a search needs: ours against peers, on recorded learning curves.

Every contender is the real scheduler and sampler of its library, driven by one event loop (`simulate.py`) in
place of that library's own workers, with the same workers, tables and seeds for all.
"""
