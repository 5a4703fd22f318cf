"""One folder per week, named by its stem, all alike: config, data, run, analysis, figures, measured."""
