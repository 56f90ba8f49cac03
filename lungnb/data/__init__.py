"""Readers, splits, the audio bank, simulators and downloads. Design: one row per event, origin never lost."""
