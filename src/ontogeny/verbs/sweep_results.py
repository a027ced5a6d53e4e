"""What came out of a sweep: the table of its runs, and the analyses over them, as files of its folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ontogeny.analyses.across.matched import MatchedArms
from ontogeny.analyses.recorded.loss_curves import outcomes, results
from ontogeny.core.analyses import ROOM_ACROSS, PlainResult
from ontogeny.core.kinds import kinds_of
from ontogeny.store import durable
from ontogeny.store.export import with_plain_text
from ontogeny.store.run import open_run
from ontogeny.store.run_group import RunGroup
from ontogeny.verbs.analyze import compare
from ontogeny.verbs.sweep_prediction import outcome_text

FILES = {
    "effects": ("factorial",),
    "pareto": ("pareto", "least_share"),
    "matched": ("matched",),
    "scaling": ("scaling",),
}
"""Text files <name>.txt in the order in which they are read, and the analyses whose sentences they hold. Any other
analysis has a file of its own, called after its kind."""

Row = tuple[Mapping[str, str], Path]
"""A finished run: level of each setting that is varied, directory."""


def group_of(rows: Sequence[Row]) -> RunGroup:
    """The runs, with the levels that the sweep gave them."""
    return RunGroup([open_run(path) for _, path in rows], levels=[levels for levels, _ in rows])


def write(folder: Path, rows: Sequence[Row], levels: Sequence[float] = ()) -> None:
    """results.csv, and every analysis that the runs can answer: analyses/<kind>.json, text files, pareto.json.

    effects.txt is written in any case: it then says what is lacking. `levels`: losses of new text at which
    configurations are compared.
    """
    runs = group_of(rows)
    table = results(outcomes(runs))
    durable.write_bytes(folder / "results.csv", with_plain_text(table).to_csv(index=False).encode())
    analyzed = compare(runs, [], [], folder, made=[MatchedArms(levels=tuple(levels))])
    if "front" in analyzed["pareto"]["numbers"]:
        durable.write_json(folder / "pareto.json", analyzed["pareto"]["numbers"]["front"])
    texts = _texts(analyzed)
    if outcome := outcome_text(folder, list(rows[0][0]), table):
        texts["scaling"].append(outcome)
    for name, paragraphs in texts.items():
        if paragraphs:
            durable.write_bytes(folder / f"{name}.txt", ("\n\n".join(paragraphs) + "\n").encode())
        else:  # of a time when there was something to say
            (folder / f"{name}.txt").unlink(missing_ok=True)


def text_files(folder: Path) -> dict[str, list[str]]:
    """Lines of the text files that a sweep's folder has, by name."""
    paths = {name: folder / f"{name}.txt" for name in (*FILES, *_others(kinds_of(ROOM_ACROSS)))}
    return {
        name: path.read_text(encoding="utf-8").rstrip().splitlines() for name, path in paths.items() if path.exists()
    }


def _texts(analyzed: Mapping[str, PlainResult]) -> dict[str, list[str]]:
    """Paragraphs by file."""
    texts = {
        name: [sentence for kind in kinds for sentence in analyzed[kind]["sentences"]] for name, kinds in FILES.items()
    }
    texts["effects"] = texts["effects"] or [analyzed["factorial"]["verdict"]]
    for kind in _others(analyzed):
        result = analyzed[kind]
        reading = [f"How to read it: {result['reading']}"] if result["reading"] else []
        told = result["numbers"] or not result["verdict"].startswith("not assessable")  # judged, whatever came of it
        texts[kind] = [result["verdict"], *result["sentences"], *reading] if told else []
    return texts


def _others(kinds: Sequence[str] | Mapping[str, PlainResult]) -> list[str]:
    """Analyses that have a file of their own."""
    return [kind for kind in kinds if not any(kind in grouped for grouped in FILES.values())]
