"""Cells of a comparison side by side: in processes of this machine, or in those of a cluster.

Every worker is a process of its own (`child`), which is asked for one cell at a time over its standard input and tells
of it over its standard output, a line of JSON each (`process`). `crew` hands out the cells; who is asked is `local` or
`cluster`. A worker that dies holds no lock, and its cell goes on from the last checkpoint in another one.
"""
