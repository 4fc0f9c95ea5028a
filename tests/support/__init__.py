"""What tests share, named for what it gives."""
