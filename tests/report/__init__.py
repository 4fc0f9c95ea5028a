"""The page, the plots and the console."""
