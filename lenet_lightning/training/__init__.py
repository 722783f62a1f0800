"""Training with Lightning: the module, its command line, callbacks, loggers and run folders."""
