"""Ways in for usage that lies in files: reading rows, one at a time, and storing them in batches.

A file is streamed, so memory does not grow with it; a row that does not fit is named and the others go on; a second
run over the same file stores nothing twice, so an interrupted import is simply run again.
"""
