"""Stimuli, their split and the responses of subjects in ROIs, in the field's formats."""
