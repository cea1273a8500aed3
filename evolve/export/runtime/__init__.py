"""The part of an exported optimizer that does not depend on the program.

Each module here is ordinary code, read by the linters like any other. An exporter copies its
text into what it writes (`evolve.export.source.runtime`), so that an export is one file that
needs only its framework, and so that a shipped optimizer and an exported one are the same code.
"""
