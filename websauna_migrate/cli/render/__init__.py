"""What the commands say: pure functions from results to text."""
