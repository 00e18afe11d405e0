"""aftercar against the usual ways to do the same in pandas: `python -m benchmarks.run`."""
