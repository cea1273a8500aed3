"""The export wing: from a program to an optimizer's source in somebody's framework.

`lowering` takes a program apart into lines and hyperparameters. `expressions` has
the formula of each line, from the one table of functions; `printing` and `listing`
write formulas and lines as source. Each target (`numpy`, `optax`, `torch`, `keras`,
`latex`, `text`) has one module with `emit(program, name, provenance) -> str`.
`replay` holds what was written against the reference interpreter, and `shipped`
writes the modules of the package `discovered`.
"""
