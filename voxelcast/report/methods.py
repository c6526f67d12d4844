"""What a paper says of how a run was done: a paragraph of its methods, and what to cite as BibTeX."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from voxelcast.report.facts import citations
from voxelcast.report.summary import listed, plural
from voxelcast.results.read import Results

_METHODS: Final = {
    "olkin1958": {
        "author": "Olkin, Ingram and Pratt, John W.",
        "title": "Unbiased Estimation of Certain Correlation Coefficients",
        "journal": "The Annals of Mathematical Statistics",
        "year": "1958",
        "doi": "10.1214/aoms/1177706717",
    },
    "benjamini1995": {
        "author": "Benjamini, Yoav and Hochberg, Yosef",
        "title": "Controlling the False Discovery Rate: A Practical and Powerful Approach to Multiple Testing",
        "journal": "Journal of the Royal Statistical Society: Series B",
        "year": "1995",
        "doi": "10.1111/j.2517-6161.1995.tb02031.x",
    },
}
_NAMES: Final = {
    "pca": "principal components",
    "roi": "region",
    "voxel": "voxel",
    "mean": "all averaged, as stated beforehand",
    "average": "the best averaged",
    "stacking": "stacked, with weights estimated in training parts",
    "banded_ridge": "banded ridge regression, with weights of the bands estimated in training parts",
}


def methods_paragraph(results: Results) -> str:
    """Say how a run was done, in sentences for a paper's methods; what its settings do not say is left out."""
    return " ".join(_sentences(results)) + "\n"


def bibtex(results: Results) -> str:
    """Return what to cite as BibTeX: voxelcast, the data, the networks, and the methods of the scores."""
    entries = []
    for what, text in citations(results):
        author, _, rest = text.partition(". ") if what == "Software" else ("", "", text)
        title, _, note = rest.partition(": ")
        key = re.sub(r"\W+", "_", title).strip("_").lower()[:40]
        fields = {"author": f"{{{author}}}", "title": f"{{{title}}}", "note": note}
        entries.append(_entry("misc", key, {name: value for name, value in fields.items() if value != "{}"}))
    used = ["olkin1958", *(["benjamini1995"] if _tested(results) else [])]
    entries += [_entry("article", key, _METHODS[key]) for key in used]
    return "\n".join(entries)


def _entry(kind: str, key: str, fields: Mapping[str, str]) -> str:
    lines = [f"  {name} = {{{_escaped(value)}}}," for name, value in fields.items()]
    return "\n".join([f"@{kind}{{{key},", *lines, "}", ""])


def _escaped(text: str) -> str:
    return re.sub(r"([&%$#_])", r"\\\1", text)


def _tested(results: Results) -> bool:
    return any("q_value" in values for values in results.voxels.values())


def _part(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = config.get(name)
    return found if isinstance(found, Mapping) else {}


def _sentences(results: Results) -> Iterator[str]:
    config, scores = results.config, results.scores
    compress, search, folds = (_part(config, name) for name in ("compress", "search", "folds"))
    yield (
        f"Encoding models predicted the responses of {plural(len(results.subjects), 'subject')} in "
        f"{plural(len(results.rois), 'region')} of interest ({listed(list(results.rois))})."
    )
    shown = results.layers[~results.layers["layer"].str.contains(": ")]  # those of trained encoders are made of others
    used = [f"{name} ({listed(list(rows['layer']))})" for name, rows in shown.groupby("network", sort=False)]
    if used:
        pools = config.get("pool")
        pooled = f", pooled over time ({pools if isinstance(pools, str) else listed(list(pools))})" if pools else ""
        yield f"Features were activations of {listed(used)}{pooled}."
    if (method := compress.get("method")) not in (None, "none"):
        each = (
            "anew in the training part of every fold" if compress.get("fit") == "folds" else "once, without responses"
        )
        kind = _NAMES.get(method, f"components ({method})")
        yield f"They were compressed to {compress.get('components')} {kind}, estimated {each}."
    if config.get("encoders"):
        exact = search.get("method") == "exact"
        how = "every value was tried" if exact else f"{search.get('trials')} values were proposed one after another"
        yield (
            f"Models were {listed(list(config['encoders']))}; of their parameters {how}, and the choice is that of "
            f"the highest cross-validated Pearson's r, for each {_NAMES[_part(config, 'selection').get('per', 'roi')]}."
        )
    if (method := _part(config, "ensemble").get("method")) not in (None, "none"):
        yield f"Several models were combined: {_NAMES.get(method, str(method).replace('_', ' '))}."
    if (scores["score_from"] == "nested_cv").all():
        yield (
            f"Performance is Pearson's r in each of {folds.get('n')} outer folds, which no choice saw, corrected for "
            "its bias (Olkin & Pratt, 1958) and averaged over folds and voxels."
        )
    if scores["score_low"].notna().any():
        yield f"Ranges are {results.interval_name}s, a jackknife over stimuli or groups widened for what folds share."
    if _tested(results):
        tests = _part(config, "significance")
        yield (
            f"Voxels were tested by {tests.get('permutations'):,} permutations and corrected over those of their "
            f"region (Benjamini & Hochberg, 1995; q = {tests.get('alpha')})."
        )
    if scores["noise_ceiling_r"].notna().any():
        yield "Noise ceilings are square roots of the responses' reliability (Cronbach's alpha over repetitions)."
    packages = _part(results.provenance, "packages")
    beside = ", ".join(f"{name} {packages[name]}" for name in ("torch", "scikit-learn", "numpy") if name in packages)
    yield f"Computed with voxelcast {results.provenance.get('voxelcast', '')} ({beside}), seed {config.get('seed')}."
