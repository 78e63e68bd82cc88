"""Where the bytes come from, and the account of every one of them."""
