"""What went wrong, named: one small rule for each anomaly, with its severity, sentence, advice and proof."""
