"""The viewer: a store's dialogues in a browser, read-only, from its Parquet parts and an index beside them.

links       where a person finds a source's dialogues; what an asset's metadata shows
folder      the store as a folder that nothing can be written to
places      where a dialogue stands: source, part, row, as one number to page by
wanted      what a person filters by
entries     what a list shows of a dialogue, and the words that it is searched by
library     dialogues, rejections and audits, from the parts that the manifests name
index       the index's file; indexing: the process that fills it; catalogue: what is asked of it
shapes      boxes in observations and annotations, as shares of their image
gallery     images by SHA-256, made small, kept in bounded memory
replaying   the requests of the reply ledger that belong to a dialogue
pages       what each page tells; app: HTTP, and what keeps it safe
"""
