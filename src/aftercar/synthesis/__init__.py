"""Published counts put together: pooled rates, how far studies differ, and what a further study may show."""
