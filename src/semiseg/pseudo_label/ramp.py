"""Settings that move during a run."""


def linear_ramp(step: int, start: float, end: float, until: float) -> float:
    """Straight line from `start` at step 0 to `end` at step `until`, and `end` from there on."""
    if step >= until:
        return end
    return start + (end - start) * step / until
