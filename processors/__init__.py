"""coffea processors of hepcalib: thin, importable, picklable."""
