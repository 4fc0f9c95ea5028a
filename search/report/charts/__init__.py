"""Charts as plain data, drawn twice: by plotly.js in the page, by Matplotlib as PNG files."""
