"""What stages that speak HTTP share: what an answer means, and why there was none."""
