"""Convolution and matrix products behind engines: what a layer asks for, and who can do it where."""
