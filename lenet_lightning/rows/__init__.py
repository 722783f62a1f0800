"""Rows of digits: the swept network that reads them, how they are made of single digits, and what is read."""
