"""The export wing: from a program to an optimizer's source in somebody's framework.

`lowering` takes a program apart into lines and hyperparameters, `expressions`
writes a line's formula from the one table of functions, and each target
(`numpy`, `optax`, `torch`, `keras`, `latex`, `text`) has one module with
`emit(program, name, provenance) -> str`. `replay` holds what was written
against the reference interpreter.
"""
