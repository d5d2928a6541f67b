"""From a model's output to named blocks of features."""
