"""Seconds as people say them."""


def duration(seconds: float) -> str:
    """Such as 40 s, 12 min or 9 h 44 min; rounded."""
    if round(seconds) < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min"
