"""What a running month is expected to come to, and how wrong that was in months that are over."""
