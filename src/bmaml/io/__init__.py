"""Saved runs: how objects, arrays and training states are written to files and read back.

The code here knows declared fields and arrays, and knows nothing of learners or tasks. So every room may use it.
A file holds JSON and safetensors, and never code. It names a class by the name in the registry (`@bmaml.register`), not by
the module. Reading checks names, types, sizes and checksums before anything is built, and each fault in a file is an
`InputError` that names the file. A new file here needs a test with damaged input.
"""
