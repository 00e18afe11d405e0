"""The mechanism beside published trials: which virtual trial stands for which, what is fitted to them, and how far the two lie apart."""
