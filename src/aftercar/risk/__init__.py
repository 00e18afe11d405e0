"""Published risk scores from a timeline: each as a table or formula beside its source, with bounds for what was not measured."""
