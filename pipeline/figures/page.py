"""The page of a study: one self-contained HTML file to send to others.

Names and scores are inserted as text (``html.escape``) or as JSON in a block that is not a script. A content security
policy lets the browser run only the two scripts of the page, by their digests, and load nothing.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any, Final

from pipeline.chemistry.metrics import LABELS
from pipeline.figures import drawing, style
from pipeline.figures.inputs import Run, objective_label
from pipeline.study.frameworks import FRAMEWORKS

LIBRARY_VERSION: Final = "2.5.5"
"""Version of assets/3Dmol-min.js, a copy of build/3Dmol-min.js in the npm package 3dmol."""

_SCORES: Final = (
    "atom_stability",
    "molecule_stability",
    "connected_validity",
    "validity",
    "uniqueness",
    "novelty",
)
_HEADINGS: Final = {
    "connected_validity": "connected and valid",
    "validity": "valid, largest fragment only",
    "uniqueness": "unique among the valid",
    "novelty": "novel among the unique",
}
_LARGEST_SVG: Final = 500_000
"""Bytes of a figure to embed as SVG."""

_MISSING: Final = "&ndash;"


@dataclass(frozen=True)
class Entry:
    """A figure on the page; its files are in the folder of the page."""

    name: str
    """Name of its files, without suffix."""
    title: str
    caption: str


def html_page(
    *,
    title: str,
    introduction: str,
    runs: Sequence[Run],
    rows: Sequence[Run],
    floor: Mapping[str, Any],
    ceiling: Mapping[str, Any],
    dataset: str,
    figures: Sequence[Entry],
    viewer: Mapping[str, Any],
    folder: Path,
) -> str:
    """Return the page as HTML.

    Args:
      title: title of the page.
      introduction: a few sentences below the title.
      runs: the runs, in the order of the study.
      rows: those in the table, with the means of runs with several seeds.
      floor: the evaluation of noise.
      ceiling: the evaluation of the data.
      dataset: name of the data.
      figures: all figures, in the order of the page.
      viewer: data of the viewer, see ``molecules.viewer``.
      folder: folder of the figures.
    """
    library, script = _asset("3Dmol-min.js"), _asset("page.js")
    policy = (
        f"default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; "
        f"script-src {_digest(library)} {_digest(script)}; base-uri 'none'; form-action 'none'"
    )

    def shown(*prefixes: str) -> str:
        """Return the figures whose names start with one of the prefixes."""
        return "\n".join(_figure(one, folder) for one in figures if one.name.startswith(prefixes))

    with_trajectory, benchmarks = viewer["trajectory"] is not None, shown("benchmark-")
    colours = [f"{symbol} {drawing.COLOUR_NAMES[symbol]}" for symbol in viewer["elements"]]
    problems = "; ".join(viewer["trajectory"]["problems"]) if with_trajectory else ""
    return Template(_asset("page.html")).substitute(
        policy=policy,
        css=_asset("page.css"),
        title=escape(title),
        introduction=escape(introduction),
        headline=_figure(figures[0], folder, alt=_headline_alt(runs)),
        table=_table(rows, floor, ceiling, dataset),
        caution=_caution(runs),
        legend=f"{style.join_and(colours)}.",
        stills=_details("The same noise in more and more steps, and the first molecules of each sampler, as pictures",
                        shown("steps-", "gallery-")),
        without_trajectory="" if with_trajectory else "hidden",
        trajectory_end=escape(problems) or "all atoms are stable",
        strip=shown("trajectory"),
        training=shown("properties-", "sweep-", "training", "distributions-", "structures-"),
        without_benchmarks="" if benchmarks else "hidden",
        benchmarks=benchmarks,
        provenance="\n".join(map(_provenance, runs)),
        library=library,
        library_version=LIBRARY_VERSION,
        library_licence=escape(_asset("3Dmol-LICENSE.txt")),
        data=_json(viewer),
        script=script,
    )  # fmt: skip


def _asset(name: str) -> str:
    return files("pipeline.figures").joinpath("assets", name).read_text(encoding="utf-8")


def _digest(script: str) -> str:
    """Return the source expression that allows a script in a content security policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _json(value: Any) -> str:
    """Return JSON that cannot close a script block, whatever it contains."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _figure(entry: Entry, folder: Path, *, alt: str | None = None) -> str:
    """Return a figure with its caption, under a heading unless an alternative text is given.

    It is embedded as SVG, or as PNG where molecules are drawn, whose SVG is several times as large.
    """
    kind, content = "svg+xml", (folder / f"{entry.name}.svg").read_bytes()
    if len(content) > _LARGEST_SVG:
        kind, content = "png", (folder / f"{entry.name}.png").read_bytes()
    source = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
    title = escape(entry.title)
    heading = "" if alt else f"<h3>{title}</h3>\n"
    return f"""<figure id="figure-{escape(entry.name)}">
{heading}<div class="scroll paper" role="region" aria-label="{title}" tabindex="0">
<img src="{source}" alt="{escape(alt or entry.title)}"></div>
<figcaption>{escape(entry.caption)}</figcaption>
</figure>"""


def _headline_alt(runs: Sequence[Run]) -> str:
    """Return the result in words: the best sampler of each run."""
    best = []
    for run in runs:
        name, one = max(run.evaluations.items(), key=lambda item: float(item[1]["atom_stability"]["value"]))
        best.append(f"{run.name} {style.percent(one['atom_stability']['value'])} with {run.sampler_label(name)}")
    return f"Chart of quality against network calls and seconds. Most stable atoms of each model: {'; '.join(best)}."


def _table(runs: Sequence[Run], floor: Mapping[str, Any], ceiling: Mapping[str, Any], dataset: str) -> str:
    headings = ["model and sampler", "trained for", "network calls", "seconds per molecule", "molecules"]
    headings += [_HEADINGS.get(key, LABELS[key]) for key in _SCORES]
    head = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in headings)
    results = "\n".join(
        _row(
            f'<span class="swatch" style="background: {run.colour}"></span>{escape(run.name)}'
            f"<small>{escape(sampler)}</small>",
            evaluation,
            name=f"{run.name} {sampler}",
            trained=run.all_seconds,
            gpu=run.gpu,
            seconds=run.seconds_per_molecule(sampler),
            calls=run.calls(sampler),
        )
        for run in runs
        for sampler, evaluation in run.evaluations.items()
    )
    return f"""<table id="table" aria-describedby="table-note">
<thead><tr>{head}</tr></thead>
<tbody class="reference">{_row("noise (floor)", floor)}</tbody>
<tbody class="results">
{results}
</tbody>
<tbody class="reference">{_row(f"{escape(dataset)} (ceiling)", ceiling)}</tbody>
</table>"""


def _row(
    heading: str,
    evaluation: Mapping[str, Any],
    *,
    name: str = "",
    trained: float | None = None,
    gpu: str | None = None,
    calls: int | None = None,
    seconds: float | None = None,
) -> str:
    cells = [
        _cell(trained, style.duration(trained or 0) + (f"<small>{escape(gpu)}</small>" if gpu else "")),
        _cell(calls, f"{calls or 0:,}"),
        _cell(seconds, f"{seconds or 0:.2g}"),
        _cell(evaluation["num_molecules"], f"{evaluation['num_molecules']:,}"),
    ]
    for key in _SCORES:
        one = evaluation[key]
        if one is None:
            cells.append(_cell(None, ""))
            continue
        value, low, high = (100 * one[part] for part in ("value", "low", "high"))
        digits = 2 if high - low < 0.5 else 1
        interval = f"{low:.{digits}f}&ndash;{high:.{digits}f}"
        cells.append(_cell(one["value"], f"{value:.{digits}f}<small>{interval}</small>"))
    return f'<tr><th scope="row" data-value="{escape(name)}">{heading}</th>{"".join(cells)}</tr>'


def _cell(value: float | None, text: str) -> str:
    """Return a cell of the table with the value to sort by; None is unknown and sorted last."""
    return f"<td>{_MISSING}</td>" if value is None else f'<td data-value="{value}">{text}</td>'


def _caution(runs: Sequence[Run]) -> str:
    """Return the sampler of this study with the widest gap between EDM's validity and the stricter one."""
    gaps = {
        f"{run.name}, {name}": (one["validity"]["value"], one["connected_validity"]["value"])
        for run in runs
        for name, one in run.evaluations.items()
    }
    who, (loose, strict) = max(gaps.items(), key=lambda gap: gap[1][0] - gap[1][1])
    return f"{escape(who)}: {style.percent(loose)} &ldquo;valid&rdquo;, {style.percent(strict)} connected and valid."


def _details(summary: str, content: str) -> str:
    return f"<details>\n<summary>{escape(summary)}</summary>\n{content}\n</details>"


def _provenance(run: Run) -> str:
    facts = {
        "trained for": run.budget,
        "objective": objective_label(run.config.objective),
        "backend": FRAMEWORKS[run.config.backend],
        "seed": run.config.seed,
        "starts from": run.config.init,
        "learns from": run.config.teacher,
        **run.provenance,
        "samplers": style.join_and([_sampler(run, name) for name in run.samples]),
    }
    listed = _facts((key, value) for key, value in facts.items() if value not in (None, {}))
    settings = escape(json.dumps(run.config.model_dump(mode="json"), indent=1))
    return _details(run.name, f'{listed}\n<p>All settings:</p>\n<pre tabindex="0">{settings}</pre>')


def _sampler(run: Run, name: str) -> str:
    seed = run.samples[name].metadata.get("seed")
    return f"{run.sampler_label(name)}{'' if seed is None else f', seed {seed}'}"


def _facts(facts: Iterable[tuple[str, Any]]) -> str:
    texts = ((key.replace("_", " "), value if isinstance(value, str) else json.dumps(value)) for key, value in facts)
    lines = "\n".join(f"<dt>{escape(key)}</dt><dd>{escape(text)}</dd>" for key, text in texts)
    return f'<dl class="facts">\n{lines}\n</dl>'
