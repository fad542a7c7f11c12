"""Data sets: COCO instance files in, batches of weak and strong views out."""
