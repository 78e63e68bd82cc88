"""What xptrace is compared with: programs of one loop each, run as processes of their own."""
