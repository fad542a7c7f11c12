"""The command line: the only layer that knows Typer and Rich."""
