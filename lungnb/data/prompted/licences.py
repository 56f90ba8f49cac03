"""Who may have which corpus: access, licence and name of each candidate for the paper's "9 public datasets".

The paper names COUGHVID, MMLung and UK COVID-19. The other candidates are the corpora of OPERA, which both authors co-wrote
(docs/papers/lungldm.md, section 2): likely, not confirmed. Access and licences are as OPERA lists them, but for the two
corpora that we add; read each licence at its source before use.
"""

import pandas as pd

#: What no reader can change (docs/papers/lungldm.md, section 2).
REBUILDABLE = (
    "The paper's 124,883 clips cannot be rebuilt from downloads alone: at least one corpus that it names (MMLung) is given "
    "on request only, it names 3 of its 9 corpora and of its 13 sound types, and no list of clips was published. Most of "
    "what can be had is cough, breath and speech recorded by phone; stethoscope sounds are a small part."
)

_ROWS = [
    (
        "ukcovid",
        "UK COVID-19 Vocal Audio Dataset",
        "open",
        "Zenodo 10043978",
        "OGL 3.0",
        "72,999 participants",
        "named",
    ),
    ("covid19_sounds", "COVID-19 Sounds", "request", "", "custom", "53,449 samples, 36,116 participants", "likely"),
    ("coughvid", "COUGHVID", "open", "Zenodo 4048312", "CC BY 4.0", "20,072 recordings", "named"),
    ("icbhi", "ICBHI 2017", "open", "bhichallenge.med.auth.gr", "CC0", "920 recordings, 6,898 cycles", "likely"),
    ("hf_lung", "HF Lung V1 and V1_IP", "open", "GitLab techsupportHF", "CC BY-NC 4.0", "", "likely"),
    ("coswara", "Coswara", "open", "GitHub iiscleap/Coswara-Data", "CC BY 4.0", "9 recordings a participant", "likely"),
    ("kauh", "KAUH", "open", "Mendeley jwyy9np4gv", "CC BY 4.0", "3 filters a recording", "likely"),
    ("respiratory_tr", "Respiratory@TR", "open", "Mendeley p9z4h98s6j", "CC BY 4.0", "", "likely"),
    ("ssbpr", "SSBPR (snoring)", "request", "", "CC BY 4.0", "", "likely"),
    ("mmlung", "MMLung", "request", "", "custom", "", "named"),
    ("nosemic", "NoseMic", "request", "", "custom", "", "likely"),
    ("sprsound", "SPRSound 2022", "open", "GitHub SJTU SPRSound", "GPL 3.0", "2,683 recordings, 9,089 events", "ours"),
    ("covid19_cough", "covid19-cough", "open", "GitHub covid19-cough", "CC0", "1,324 recordings", "ours"),
]

#: One row a corpus. in_paper: named there, likely (OPERA's), or ours alone; `holds` is blank where no count is at hand.
LICENCES = pd.DataFrame(_ROWS, columns=["corpus", "name", "access", "where", "licence", "holds", "in_paper"]).set_index(
    "corpus"
)
