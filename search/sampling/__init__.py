"""What to try next: Optuna's samplers by ask and tell, designs and lists, and the results of earlier runs."""
