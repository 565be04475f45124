"""From a configuration to its output: simulate, train, process, plot; what is up to date stays."""
