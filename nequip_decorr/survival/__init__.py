"""Survival statistics: estimators, comparison, verdict, sensitivity."""
