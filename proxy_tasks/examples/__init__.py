"""Tasks to copy from: each is one file, and what stands in it is all that is needed."""
