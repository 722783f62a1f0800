"""The reader of rows as it is trained: as the zip code reader of 1990 and section VII of the paper, by Lightning."""
