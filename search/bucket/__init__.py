"""Results in a bucket: a run lives in a folder of this machine, and its mirror in an object store.

An object store has no append, no rename, and answers late or not at all. So nothing of a run waits for it:
the journal is written and fsynced locally as ever, and what is there is shipped in the background.

    NAME/lease.json                   whose process ships, while one does
    NAME/journal/000000000042.jsonl   lines from seq 42 to before the next segment; made once, never changed
    NAME/blobs/<sha256>               a file's content; a checkpoint that did not change is there once
    NAME/manifests/00000007.json      which file has which content, and the journal's end when it was so

A manifest is made after its blobs and after the lines of the journal before it: at each instant a bucket
holds an earlier state of the run, whole. A promotion's journal is under `NAME/promotion/journal/`, and so on.
"""
