"""What scanners of model files say about real models, beside the truth: `make formats`."""
