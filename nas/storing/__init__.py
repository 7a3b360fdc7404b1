"""What is done to a store as a whole: upgraded, checked, carried to another place, written for Optuna."""
