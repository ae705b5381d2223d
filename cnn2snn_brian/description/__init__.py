"""What a converted network is: neurons, settings, thresholds, files."""
