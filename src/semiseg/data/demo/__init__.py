"""Procedural drone scenes of a salak plantation with exact masks: something to run on without a download."""
