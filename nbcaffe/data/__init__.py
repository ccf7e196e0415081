"""Where the samples come from: HDF5 files, arrays in memory, and the fetchers of the recipes' data sets."""
