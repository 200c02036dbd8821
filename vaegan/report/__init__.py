"""`report.html`: one self-contained page about a run, or about a comparison of runs.

`page` has the typed content of any page, `render` its form: `page.html`, `page.css` and `page.js`.
`run_page` collects the content of a run's folder; `evaluation/reports/` has that of comparisons.
`written` writes the file.
"""
