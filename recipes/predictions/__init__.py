"""The verb predict of recipes whose phone files answer without TensorFlow: they start in a moment."""
