"""Numbers in words, the same on every page."""


def duration(seconds: float) -> str:
    """45 s, 5 min 30 s, 2 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def count(value: float, what: str) -> str:
    """1 step, 1,200 steps."""
    return f"{value:,.0f} {what}" + ("" if value == 1 else "s")
