"""Presentation of results: tables, pictures and one self-contained HTML page, from plain arrays and dicts.

`table` for the terminal and Markdown, `plots` for pictures as PNG bytes, `html` for the page. Nothing is imported here,
so that printing a table does not wait for the plotting library.
"""
