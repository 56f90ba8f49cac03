"""Tables of recorded experiments as they lie on the disk."""

import numpy as np
import pandas as pd

from lungnb.book.storage import write_parquet


def test_a_kept_table_is_itself_and_small(tmp_path):
    rng = np.random.default_rng(0)
    p = rng.beta(0.1, 0.1, size=(5000, 2)).astype(np.float16)
    frame = pd.DataFrame({"row": np.repeat(["a", "b"], 2500), "event": np.arange(5000) % 2500, "right": p[:, 0] > 0.5})
    frame = frame.assign(p0=p[:, 0], p1=p[:, 1])
    frame.loc[3, "p0"] = np.nan
    write_parquet(tmp_path / "kept.parquet", frame)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "kept.parquet"), frame)
    frame.to_parquet(tmp_path / "plain.parquet", index=False, compression="zstd", compression_level=19)
    assert (tmp_path / "kept.parquet").stat().st_size < 0.95 * (tmp_path / "plain.parquet").stat().st_size
