"""Where Lightning trains a network on the digits and keeps its runs."""
