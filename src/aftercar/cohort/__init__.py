"""Many subjects: when toxicities begin, with death in the way."""
