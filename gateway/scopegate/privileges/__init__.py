"""Who says, at the moment of the call, what a user may do: the directory, or a source in place of it."""
