"""What ends a run before its time."""

__all__ = ["RunStopped"]


class RunStopped(ValueError):  # noqa: N818 - a stop by design, not a defect
    """A run stopped by its own checks, such as a non-finite loss or collapsed pseudo-labels.

    The message is one line: what was seen, where, and which configuration key to change.
    """
