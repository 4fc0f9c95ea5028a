"""What to try next: Optuna by ask and tell, designs and lists, and what earlier runs know."""
