"""QEMU's recordings: the trace-event declarations and the text logs that are written by them."""
