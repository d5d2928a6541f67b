"""Where a model's training data end: a grade per atom from the covariance of its features."""
