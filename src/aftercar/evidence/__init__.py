"""What the rules stand on: the papers, by key. Imports nothing of ours; everything above cites keys from here."""
