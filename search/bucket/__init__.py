"""Results in a bucket: a run lives in a folder on this machine, mirrored to an object store.

An object store has no append and no rename, and answers late or not at all. So no part of a run waits for it:
the journal is written and fsynced locally as always, and everything is shipped in the background.

    NAME/lease.json                   the process that ships the run, while there is one
    NAME/journal/000000000042.jsonl   lines from seq 42 to before the next segment; made once, never changed
    NAME/blobs/<sha256>               a file's content; a checkpoint that did not change is there once
    NAME/manifests/00000007.json      the content of each file, and where the journal ended at that moment

A manifest is made after its blobs and after the lines of the journal before it, so at any instant a bucket
holds a complete earlier state of the run. A promotion's journal is in `NAME/promotion/journal/`, and so on.
"""
