"""virnucpro: tells viral from non-viral DNA with ESM-2 and DNABERT-S features.

import virnucpro
summary = virnucpro.predict("contigs.fa", "out", weights_dir="weights")
path = virnucpro.embed("proteins.faa", "features", weights_dir="weights")
"""

from virnucpro._version import __version__ as __version__
from virnucpro.api import embed, predict

__all__ = ["embed", "predict"]
