"""Caffe's files: prototxt, caffemodel, solverstate, binaryproto, LMDB of Datum."""
