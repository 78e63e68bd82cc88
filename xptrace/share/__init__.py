"""Recordings that may leave the house: as small as a finding allows, and without what is nobody's business."""
