"""The networks of 1989 and 1998: how they were trained, with their losses, their optimizer and their samples."""
