"""Alphabet: ESM-2's tokens, by fair-esm 2.0.0, and what masked-language modelling does with them.

The host that trains has torch and numpy alone, so nothing here imports virnucpro; tests compare these with its own.
"""

LETTERS = "LAGVSERTIDPKQNFYMHWCXBUZO.-"  # tokens from FIRST on; the 20 amino acids stand first, X after them
CLS, PAD, EOS, FIRST, X, MASK = 0, 1, 2, 4, 24, 32
VOCABULARY = 33

SHARE = 0.15  # of the residues, to be told
MASKED, REPLACED = 0.8, 0.1  # of these; the rest stay as they are
DROPOUT_SCALE = 1 - SHARE * MASKED

LONGEST = 256  # tokens of a sequence, <cls> and <eos> included
MOST_RESIDUES, FEWEST_RESIDUES = LONGEST - 2, 30
