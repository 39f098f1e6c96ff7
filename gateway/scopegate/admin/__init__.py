"""The control plane: for operators and administrators, on a listener of its own."""
