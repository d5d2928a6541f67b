"""A study of decorrelation and MD stability that anyone can rerun; see PROTOCOL.md."""
