"""Tables of cells as text."""

from collections.abc import Iterable, Sequence


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return the cells of a table as plain text: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows
    )


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return the cells of a table as Markdown, all but the first column aligned to the right."""
    every = (header, ["---", *["---:"] * (len(header) - 1)], *rows)
    return "\n".join(f"| {' | '.join(row)} |" for row in every)
