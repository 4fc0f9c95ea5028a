"""The page of a run: one HTML file that opens offline."""

from __future__ import annotations

from search.report.page.writer import Written, page_text, watch, write_at_end, write_comparison, write_page

__all__ = ["Written", "page_text", "watch", "write_at_end", "write_comparison", "write_page"]
