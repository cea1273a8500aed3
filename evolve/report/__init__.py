"""`evolve report`: a run as one page to look at, without network or scripts."""
