"""From a campaign file to finished runs."""
