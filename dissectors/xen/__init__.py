"""The recordings of Xen's own daemons: oxenstored's access log."""
