"""Who a device is: a small certificate authority, one-time tokens, and the EST door through which devices come in."""
