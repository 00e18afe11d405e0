"""Draft answers for registry forms: each field with an answer, the rule and the rows behind it, `unknown` as a real value, and what people decided."""
