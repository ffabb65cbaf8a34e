"""The rules of `decide`, in files of one thought each. The order in which they are asked stands there alone."""
