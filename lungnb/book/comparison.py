"""Published numbers beside ours: the tidy table that is written, and the wide one that is read."""

import pandas as pd

KEYS = ["row", "metric"]


def comparison(published: pd.DataFrame, ours: pd.DataFrame, recorded: pd.DataFrame | None = None) -> pd.DataFrame:
    """Join by `row`, `metric` and, if `ours` has one, `subset`, in the published order; what only we have comes after.

    published: row, metric, value. ours: row, metric, ours, and as known sd, n_seeds, low, high. recorded: row, metric,
    ours; it becomes the column `recorded`.
    """
    keys = [*KEYS, "subset"] if "subset" in ours else KEYS
    ours = ours.reindex(columns=[*keys, "ours", "sd", "n_seeds", "low", "high"])
    tidy = published[[*keys, "value"]].rename(columns={"value": "published"})
    tidy = _join(tidy, ours, keys).astype({"n_seeds": "Int64"})
    if recorded is None:
        return tidy
    tidy = _join(tidy, recorded[[*keys, "ours"]].rename(columns={"ours": "recorded"}), keys)
    tidy.attrs["recorded"] = recorded.attrs.get("provenance", {}).get("origin", "")
    return tidy


def _join(left: pd.DataFrame, right: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """An outer join that keeps the order of `left`, then of `right` (pandas sorts an outer join by its keys)."""
    order = pd.concat([left[keys], right[keys]]).drop_duplicates()
    joined = order.merge(left, on=keys, how="left", validate="1:1")
    return joined.merge(right, on=keys, how="left", validate="1:1")


def is_comparison(frame: pd.DataFrame) -> bool:
    return {*KEYS, "published", "ours", "n_seeds"} <= set(frame.columns)


def pivot(tidy: pd.DataFrame) -> pd.DataFrame:
    """A comparison for reading: one line a row, for each metric published beside ours (`54.2 ± 1.10 [50.0, 58.0]`).

    With more than three metrics what is published, ours and recorded stand below each other. Several subsets are told apart
    in front of the row.
    """
    sources = [s for s in ("published", "ours", "recorded") if s in tidy and (s == "ours" or tidy[s].notna().any())]
    cells = tidy.assign(ours=tidy.apply(_ours, axis=1), **{c: tidy[c].map(number) for c in sources if c != "ours"})
    lines = ["subset", "row"] if "subset" in tidy and tidy["subset"].nunique() > 1 else ["row"]
    long = cells.melt([*lines, "metric"], sources, "source").assign(value=lambda x: x["value"].astype(object))
    order = {c: list(dict.fromkeys(long[c])) for c in [*lines, "metric", "source"]}
    for c, values in order.items():
        long[c] = pd.Categorical(long[c], values)
    many = len(order["metric"]) > 3
    index, columns = ([*lines, "source"], ["metric"]) if many else (lines, ["metric", "source"])
    wide = long.pivot(index=index, columns=columns, values="value").sort_index().sort_index(axis=1).fillna("")
    if many:
        wide = wide[(wide != "").any(axis=1)]
        wide.columns = wide.columns.astype(str)
    names = [None] * wide.index.nlevels
    return wide.rename_axis(index=names if len(names) > 1 else None, columns=[None] * wide.columns.nlevels)


def _ours(line: pd.Series) -> str:
    """Ours with its spread over seeds and its interval, as far as they are known."""
    text = number(line["ours"])
    if text and pd.notna(line.get("sd")):
        text += f" ± {number(line['sd'])}"
    if text and pd.notna(line.get("low")) and pd.notna(line.get("high")):
        text += f" [{number(line['low'])}, {number(line['high'])}]"
    return text


def number(value: object) -> str:
    """Three digits or so: 66.2, 5.72, 0.572, 0.0012; whole numbers, words and yes/no as they are; nothing for NA."""
    if not pd.api.types.is_scalar(value):
        return str(value)
    if pd.isna(value):
        return ""
    if not pd.api.types.is_float(value):
        return str(value)
    if abs(value) >= 10:
        return f"{value:.1f}"
    if abs(value) >= 1 or value == 0:
        return f"{value:.2f}"
    return f"{value:.3f}" if abs(value) >= 0.01 else f"{value:.2g}"
