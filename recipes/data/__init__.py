"""Data sets as tf.data pipelines, one file per kind of data."""
