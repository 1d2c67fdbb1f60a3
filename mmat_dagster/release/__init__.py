"""The dataset as a release: a folder that trainers, the Hugging Face hub and people read as it is.

    README.md                                   the card: what this is, counted; how it was made; its licences
    croissant.json                              the same for machines (Croissant, MLCommons)
    dataset_qa_rr_{train,val}_all_RR_sys.jsonl  RR dialogues under the names that MMAT-1M has
    dataset_qa_rr_{train,val}_all_ORR.jsonl     ORR dialogues, likewise
    images/<aa>/<sha256>.<ext>                  the images that these lines name, byte for byte as published
    data/{rr,orr}/{train,val}-*-of-*.parquet    the same with images inside: datasets.load_dataset(folder, "rr")
    dropped.jsonl                               what stands in the store and not here, each with its reason

    plan.py         what is released, and the choices: together they are the release's key
    audits.py       the scores of dialogue_audit, where there are some
    rows.py         columns of the store to columns of the release, batch by batch
    pictures.py     the images' bytes, read and verified once
    shards.py       Parquet; lines.py: JSON Lines
    statistics.py   what is counted on the way; provenance.py: how it was made
    card.py, tables.py, croissant.py
    writing.py      all of that into a folder; publishing.py: the folder in the store, switched to at the end
    reading.py      a release's dialogues, for exporters
    hub.py          where a release can be pushed to

Nothing here depends on a clock or on where it runs: the same data and choices give the same bytes.
"""
