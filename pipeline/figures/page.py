"""The page that shows all figures with their captions and the table of results."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

_STYLE: Final = """
:root { color-scheme: light; --ink: #262626; --muted: #6b6b6b; --rule: #dedede; }
body { font: 16px/1.55 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; color: var(--ink); background: #fff;
       max-width: 60rem; margin: 2.5rem auto 5rem; padding: 0 1.25rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .4rem; }
h2 { font-size: 1.2rem; margin: 3rem 0 .8rem; padding-top: 1.2rem; border-top: 1px solid var(--rule); }
nav { margin: 1rem 0 0; } nav a { margin-right: 1.1rem; white-space: nowrap; }
a { color: #0062a0; }
figure { margin: 0; } figure img { width: 100%; height: auto; }
figcaption, .note { color: var(--muted); font-size: .92rem; margin-top: .7rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .38rem .8rem .38rem 0; text-align: right; border-bottom: 1px solid var(--rule); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
thead th { border-bottom: 2px solid var(--ink); vertical-align: bottom; white-space: normal; }
tr.reference { color: var(--muted); font-style: italic; }
"""


@dataclass(frozen=True)
class Entry:
    """What the page says about one figure."""

    name: str
    """Name of its files, without ending."""
    title: str
    caption: str


@dataclass(frozen=True)
class Table:
    """The results as text."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    references: Collection[int]
    """Which of the rows are references, not results."""
    note: str
    """How to read it."""


def html_page(*, title: str, introduction: str, table: Table, figures: Sequence[Entry]) -> str:
    """Return the page as HTML; it needs nothing but the figures' and the table's files beside it."""
    links = " ".join(f'<a href="#{escape(entry.name)}">{escape(entry.title)}</a>' for entry in figures)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
<p>{escape(introduction)}</p>
<nav><a href="#results">Results</a> {links}</nav>
<section id="results">
<h2>Results</h2>
<div class="wide">
{_table(table)}
</div>
<p class="note">{escape(table.note)} As files: <a href="table.csv">table.csv</a>, <a href="table.md">table.md</a>.</p>
</section>
{"".join(_section(entry) for entry in figures)}</body>
</html>
"""


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in table.header)
    kinds = ["reference" if number in table.references else "result" for number in range(len(table.rows))]
    body = "\n".join(
        f'<tr class="{kind}">' + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
        for kind, row in zip(kinds, table.rows, strict=True)
    )
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def _section(entry: Entry) -> str:
    name = escape(entry.name)
    return f"""<section id="{name}">
<h2>{escape(entry.title)}</h2>
<figure>
<a href="{name}.svg"><img src="{name}.svg" alt="{escape(entry.title)}" loading="lazy"></a>
<figcaption>{escape(entry.caption)} <a href="{name}.svg">SVG</a> <a href="{name}.png">PNG</a></figcaption>
</figure>
</section>
"""
