"""Published numbers beside ours: the tidy table that is written, and the wide one that is read."""

import pandas as pd

KEYS = ["row", "metric"]


def comparison(published: pd.DataFrame, ours: pd.DataFrame, recorded: pd.DataFrame | None = None) -> pd.DataFrame:
    """Join by `row` and `metric`, in the published order; what only we have comes after.

    published: row, metric, value. ours: row, metric, ours, and as known sd, n_seeds, low, high. recorded: row, metric,
    ours, and subset where a run has several; it becomes the column `recorded`, or one column `recorded <subset>` each.
    """
    ours = ours.reindex(columns=[*KEYS, "ours", "sd", "n_seeds", "low", "high"])
    tidy = published[[*KEYS, "value"]].rename(columns={"value": "published"})
    tidy = _join(tidy, ours).astype({"n_seeds": "Int64"})
    if recorded is None:
        return tidy
    subsets = recorded["subset"].unique() if "subset" in recorded else []
    if len(subsets) < 2:
        tidy = _join(tidy, recorded[[*KEYS, "ours"]].rename(columns={"ours": "recorded"}))
    else:
        for subset in subsets:
            part = recorded.loc[recorded["subset"] == subset, [*KEYS, "ours"]]
            tidy = _join(tidy, part.rename(columns={"ours": f"recorded {subset}"}))
    tidy.attrs["recorded"] = recorded.attrs.get("provenance", {}).get("origin", "")
    return tidy


def _join(left: pd.DataFrame, right: pd.DataFrame) -> pd.DataFrame:
    """An outer join that keeps the order of `left`, then of `right` (pandas sorts an outer join by its keys)."""
    order = pd.concat([left[KEYS], right[KEYS]]).drop_duplicates()
    joined = order.merge(left, on=KEYS, how="left", validate="1:1")
    return joined.merge(right, on=KEYS, how="left", validate="1:1")


def is_comparison(frame: pd.DataFrame) -> bool:
    return {*KEYS, "published", "ours", "n_seeds"} <= set(frame.columns)


def pivot(tidy: pd.DataFrame) -> pd.DataFrame:
    """A comparison for reading: one line a row, for each metric published beside ours (`54.2 ± 1.10 [50.0, 58.0]`)."""
    sources = ["published", "ours", *(c for c in tidy.columns if c.startswith("recorded"))]
    cells = tidy.assign(ours=tidy.apply(_ours, axis=1), **{c: tidy[c].map(number) for c in sources if c != "ours"})
    wide = cells.pivot(index="row", columns="metric", values=sources).swaplevel(axis=1)
    columns = pd.MultiIndex.from_product([tidy["metric"].unique(), sources])
    wide = wide.reindex(index=tidy["row"].unique(), columns=columns).fillna("")
    unrecorded = [c for c in columns if c[1].startswith("recorded") and not wide[c].any()]
    return wide.drop(columns=unrecorded).rename_axis(index=None, columns=[None, None])


def _ours(line: pd.Series) -> str:
    """Ours with its spread over seeds and its interval, as far as they are known."""
    text = number(line["ours"])
    if text and pd.notna(line.get("sd")):
        text += f" ± {number(line['sd'])}"
    if text and pd.notna(line.get("low")) and pd.notna(line.get("high")):
        text += f" [{number(line['low'])}, {number(line['high'])}]"
    return text


def number(value: object) -> str:
    """Three digits or so: 66.2, 0.57, 0.0012; whole numbers, words and yes/no as they are; nothing for NA."""
    if not pd.api.types.is_scalar(value):
        return str(value)
    if pd.isna(value):
        return ""
    if not pd.api.types.is_float(value):
        return str(value)
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if value == 0 or abs(value) >= 0.01 else f"{value:.2g}"
